//! Cron expressions against the crate that the Python SDK computes with.

use std::io::Write as _;
use std::process::Stdio;

use dbos_runtime::Timestamp;
use dbos_runtime::testing::cron_times;
use harness::python;

const ZONES: [&str; 6] =
    ["UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata", "America/Santiago"];
/// 2024 to 2032.
const FROM: u64 = 1_704_067_200;
const SECONDS: u64 = 8 * 366 * 24 * 3600;

/// A small generator, so that every run sees the same expressions.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }

    fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// One field, in a form that both understand alike.
    fn field(&mut self, least: u64, most: u64) -> String {
        let (one, other) = (self.between(least, most - 1), self.between(least, most - 1));
        let other = if one == other { other + 1 } else { other };
        let step = self.between(1, 7);
        match self.below(7) {
            0 => "*".to_owned(),
            1 => format!("*/{step}"),
            2 => format!("{one}/{step}"),
            3 => format!("{one}-{other}"),
            // Through the end of a range croniter miscounts its steps by one.
            4 => format!("{}-{}/{step}", one.min(other), one.max(other)),
            5 => format!("{one},{other}"),
            _ => one.to_string(),
        }
    }

    fn expression(&mut self) -> String {
        let mut fields: Vec<String> = Vec::new();
        if self.below(3) == 0 {
            fields.push(self.field(0, 59));
        }
        fields.push(self.field(0, 59));
        fields.push(self.field(0, 23));
        // The days that depend on the month stand alone: where both fields are restricted the two differ.
        let (day, weekday) = match self.below(8) {
            0 => ("L".to_owned(), "*".to_owned()),
            // The 31st of a month that has none is its last day to croniter, and no day to us.
            1 => (format!("{}W", self.between(1, 28)), "*".to_owned()),
            2 => ("*".to_owned(), format!("{}#{}", self.between(0, 6), self.between(1, 4))),
            3 => ("?".to_owned(), format!("L{}", self.between(0, 6))),
            4 => ("*".to_owned(), self.pick(&["FRI-MON", "sun", "Tue,Thu", "7", "1-5", "5-7"]).to_owned()),
            5 => (self.field(1, 31), "*".to_owned()),
            6 => ("*".to_owned(), self.field(0, 6)),
            _ => (self.field(1, 31), self.field(0, 6)),
        };
        let month = if self.below(2) == 0 { "*".to_owned() } else { self.field(1, 12) };
        fields.extend([day, month, weekday]);
        fields.join(" ")
    }

    /// A moment; every other one is in the days around the changes of the clocks.
    fn moment(&mut self) -> u64 {
        let changes =
            [1_772_949_600, 1_793_509_200, 1_774_746_000, 1_792_890_000, 1_791_041_400, 1_775_314_800];
        if self.below(2) == 0 {
            return FROM + self.below(SECONDS);
        }
        let change = changes[usize::try_from(self.below(6)).unwrap()];
        change - 36 * 3600 + self.below(48 * 3600)
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(seconds).unwrap() * 1000)
}

// M405, B58
#[test]
fn times_are_those_of_croniter() {
    const COUNT: usize = 4;
    let mut dice = Dice(20_261_122);
    let cases: Vec<(String, &str, u64, usize)> =
        (0..400).map(|_| (dice.expression(), dice.pick(&ZONES), dice.moment(), COUNT)).collect();
    let mut python =
        python::script("croniter_times.py").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    python.stdin.take().unwrap().write_all(&serde_json::to_vec(&cases).unwrap()).unwrap();
    let output = python.wait_with_output().unwrap();
    let theirs: Vec<Option<Vec<String>>> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(theirs.len(), cases.len());
    let mut differences = Vec::new();
    let mut refused = 0;
    for ((text, zone, after, count), theirs) in cases.iter().zip(theirs) {
        let ours = cron_times(text, zone, at(*after), *count).ok();
        refused += usize::from(ours.is_none());
        if ours != theirs {
            differences
                .push(format!("{text} in {zone} after {after}\n  ours:   {ours:?}\n  theirs: {theirs:?}"));
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
    assert!(refused < 40, "{refused} expressions name no date");
}

// B58
#[test]
fn times_only_ever_go_forwards() {
    let mut dice = Dice(7);
    let mut seen = 0;
    for _ in 0..5_000 {
        let (text, zone, after) = (dice.expression(), dice.pick(&ZONES), at(dice.moment()));
        let Ok(times) = cron_times(&text, zone, after, 3) else { continue };
        let times = times.iter().map(|time| time.parse::<Timestamp>().unwrap());
        let times: Vec<Timestamp> = std::iter::once(after).chain(times).collect();
        assert_eq!(times.len(), 4, "{text} in {zone} after {after}");
        assert!(times.is_sorted_by(|one, next| one < next), "{text} in {zone}: {times:?}");
        seen += 1;
    }
    assert!(seen > 4_500, "only {seen} expressions name a date");
}
