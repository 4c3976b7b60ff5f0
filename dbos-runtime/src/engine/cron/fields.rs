//! The text of a cron expression, field by field, in the one dialect that is understood here.
//!
//! What comes out is the same expression in the plainest words, numbers in lists, so that the crate which computes with
//! it has nothing left to interpret.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// What one field may hold.
struct Field {
    name: &'static str,
    least: u8,
    most: u8,
    /// Names for the values from `least` on.
    names: &'static [&'static str],
    days: Days,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Days {
    No,
    OfMonth,
    OfWeek,
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const FIELDS: [Field; 6] = [
    Field { name: "second", least: 0, most: 59, names: &[], days: Days::No },
    Field { name: "minute", least: 0, most: 59, names: &[], days: Days::No },
    Field { name: "hour", least: 0, most: 23, names: &[], days: Days::No },
    Field { name: "day-of-month", least: 1, most: 31, names: &[], days: Days::OfMonth },
    Field { name: "month", least: 1, most: 12, names: MONTHS, days: Days::No },
    // Sunday is 0; 7 is Sunday too.
    Field { name: "day-of-week", least: 0, most: 6, names: WEEKDAYS, days: Days::OfWeek },
];

/// An expression in plain words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plain {
    /// Six fields, seconds first.
    pub(super) pattern: String,
    /// Whether it asks for every hour of a day.
    pub(super) every_hour: bool,
}

/// Reads an expression of five or six fields, or an alias. The error says which field is wrong, and why.
pub(super) fn plain(text: &str) -> Result<Plain, String> {
    let expanded = alias(text.trim())?;
    let words: Vec<&str> = expanded.split_ascii_whitespace().collect();
    let missing = match words.len() {
        6 => 0,
        5 => 1,
        0 => return Err("it is empty".to_owned()),
        other => return Err(format!("it has {other} fields; 5 are needed, or 6 with seconds first")),
    };
    let mut pattern = if missing == 1 { "0".to_owned() } else { String::new() };
    let mut every_hour = false;
    for (position, (word, field)) in words.iter().zip(&FIELDS[missing..]).enumerate() {
        let (values, special) = field
            .read(word)
            .map_err(|why| format!("field {}, the {}, is {word:?}: {why}", position + 1, field.name))?;
        every_hour |= field.name == "hour" && values.len() == 24;
        let separator = if pattern.is_empty() { "" } else { " " };
        let _ = write!(pattern, "{separator}{}", field.write(word, &values, &special));
    }
    Ok(Plain { pattern, every_hour })
}

fn alias(text: &str) -> Result<&str, String> {
    if !text.starts_with('@') {
        return Ok(text);
    }
    Ok(match text.to_ascii_lowercase().as_str() {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => return Err(format!("{text:?} is none of @yearly, @monthly, @weekly, @daily and @hourly")),
    })
}

/// The plain values of a field, and the days that depend on the month: `L`, `15W`, `5#2`, `5#L`.
type Read = (BTreeSet<u8>, Vec<String>);

impl Field {
    fn read(&self, word: &str) -> Result<Read, String> {
        let mut values = BTreeSet::new();
        let mut special = Vec::new();
        for item in word.split(',') {
            if let Some(day) = self.special(item)? {
                special.push(day);
            } else {
                values.extend(self.values(item)?);
            }
        }
        Ok((values, special))
    }

    /// A field that leaves its days open has to stay `*`: a list of all of them counts as a restriction.
    fn write(&self, word: &str, values: &BTreeSet<u8>, special: &[String]) -> String {
        if word == "*" || word == "?" {
            return "*".to_owned();
        }
        let values = values.iter().map(ToString::to_string);
        values.chain(special.iter().cloned()).collect::<Vec<_>>().join(",")
    }

    /// A day that depends on the month.
    fn special(&self, item: &str) -> Result<Option<String>, String> {
        let upper = item.to_ascii_uppercase();
        match self.days {
            Days::OfMonth if upper == "L" => Ok(Some(upper)),
            Days::OfMonth => {
                upper.strip_suffix('W').map(|day| self.value(day).map(|day| format!("{day}W"))).transpose()
            }
            Days::OfWeek => {
                if let Some((day, nth)) = upper.split_once('#') {
                    return match nth {
                        "1" | "2" | "3" | "4" | "5" => Ok(Some(format!("{}#{nth}", self.value(day)? % 7))),
                        _ => Err("after # comes a number from 1 to 5".to_owned()),
                    };
                }
                upper
                    .strip_prefix('L')
                    .map(|day| self.value(day).map(|day| format!("{}#L", day % 7)))
                    .transpose()
            }
            Days::No => Ok(None),
        }
    }

    /// The values of `*`, `a`, `a-b`, and of these with a step: `*/n`, `a/n`, `a-b/n`.
    fn values(&self, item: &str) -> Result<Vec<u8>, String> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(number(step)?)),
            None => (item, None),
        };
        if step == Some(0) {
            return Err("a step of 0 leads nowhere".to_owned());
        }
        let any = range == "*" || (range == "?" && self.days != Days::No && step.is_none());
        let (first, last) = if any {
            (self.least, self.most)
        } else if let Some((first, last)) = range.split_once('-') {
            (self.value(first)?, self.value(last)?)
        } else {
            let first = self.value(range)?;
            (first, if step.is_some() { self.most.max(first) } else { first })
        };
        // Counted through the end of the range, `22-2` goes on after the largest value.
        let round = self.most - self.least + 1;
        let last = if first > last { u16::from(last) + u16::from(round) } else { u16::from(last) };
        let step = usize::from(step.unwrap_or(1));
        let into_range = |value: u16| {
            let offset = (value - u16::from(self.least)) % u16::from(round);
            u8::try_from(offset).unwrap_or(0) + self.least
        };
        Ok((u16::from(first)..=last).step_by(step).map(into_range).collect())
    }

    /// A number in the field's range, or a name.
    fn value(&self, text: &str) -> Result<u8, String> {
        if let Some(position) = self.names.iter().position(|name| text.eq_ignore_ascii_case(name)) {
            return Ok(u8::try_from(position).unwrap_or(0) + self.least);
        }
        let value = number(text)?;
        let most = if self.days == Days::OfWeek { 7 } else { self.most };
        if (self.least..=most).contains(&value) {
            return Ok(value);
        }
        Err(format!("{value} is not between {} and {most}", self.least))
    }
}

fn number(text: &str) -> Result<u8, String> {
    if text.is_empty() {
        return Err("a number is missing".to_owned());
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or_else(|| format!("{text:?} is not a number that fits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_comes_out_as_numbers() {
        let cases = [
            ("0 0 * * *", "0 0 0 * * *"),
            ("*/20 5 1 * * *", "0,20,40 5 1 * * *"),
            ("50/5 0-6/3 22-2 * * *", "50,55 0,3,6 0,1,2,22,23 * * *"),
            ("0 22-2/2 ? jan-MAR,dec FRI-MON", "0 0,2,22 * 1,2,3,12 0,1,5,6"),
            ("0 0 L,15w,1 * ?", "0 0 1,L,15W * *"),
            ("0 0 * * 7", "0 0 * * 0"),
            ("0 0 * * 5-7", "0 0 * * 0,5,6"),
            ("0 0 * * 1#1,l5,sun#2", "0 0 * * 1#1,5#L,0#2"),
            (
                "0 0 */1 * 0-6",
                "0 0 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31 * 0,1,2,3,4,5,6",
            ),
            ("@Weekly", "0 0 * * 0"),
        ];
        for (text, expected) in cases {
            let expected =
                if expected.split(' ').count() == 5 { format!("0 {expected}") } else { expected.to_owned() };
            assert_eq!(plain(text).map(|plain| plain.pattern), Ok(expected), "{text}");
        }
    }

    #[test]
    fn an_hourly_expression_is_known_by_its_hours() {
        for (text, every_hour) in [("5 * * * *", true), ("5 0-23 * * *", true), ("5 0-22 * * *", false)] {
            assert_eq!(plain(text).map(|plain| plain.every_hour), Ok(every_hour), "{text}");
        }
    }

    // B53
    #[test]
    fn what_is_wrong_is_said_with_its_field() {
        let cases = [
            ("", "empty"),
            ("* * * *", "4 fields"),
            ("* * * * * * 2020", "7 fields"),
            ("* * * * * * * *", "8 fields"),
            ("@every 5m", "none of"),
            ("@reboot", "none of"),
            ("*/0 * * * *", "field 1, the minute, is \"*/0\": a step of 0"),
            ("60 * * * * *", "field 1, the second, is \"60\": 60 is not between 0 and 59"),
            ("0 24 * * *", "field 2, the hour"),
            ("-1 * * * *", "field 1, the minute, is \"-1\": a number is missing"),
            ("1--2 * * * *", "field 1"),
            ("１ * * * *", "field 1"),
            ("+1 * * * *", "not a number"),
            ("999 * * * *", "not a number that fits"),
            ("0 0 0 * *", "field 3, the day-of-month"),
            ("0 0 32 * *", "field 3"),
            ("0 0 * 13 *", "field 4, the month"),
            ("0 0 * * 8", "field 5, the day-of-week"),
            ("0 0 * * THURSDAY", "field 5"),
            ("0 0 * * 5#6", "from 1 to 5"),
            ("0 0 * * L", "field 5"),
            ("0 0 W * *", "field 3"),
            ("0 0 MON * *", "field 3"),
            ("0 0 1,, * *", "field 3"),
            ("? * * * *", "field 1"),
            ("H * * * *", "field 1"),
            ("R * * * *", "field 1"),
            ("a b c d e", "field 1"),
            ("*-5 * * * *", "field 1"),
            ("*/ * * * *", "field 1"),
            ("/5 * * * *", "field 1"),
            ("0 0 L-2 * *", "field 3"),
        ];
        for (text, part) in cases {
            let why = plain(text).expect_err(text);
            assert!(why.contains(part), "{text}: {why}");
        }
    }
}
