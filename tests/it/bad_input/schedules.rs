//! Cron expressions, zones and names of schedules.

use dbos_runtime::testing::cron_times;
use dbos_runtime::{Schedule, Timestamp};

use super::*;

/// A Sunday.
const FROM: &str = "2026-11-01T00:00:00Z";

fn times(cron: &str, count: usize) -> Vec<String> {
    let times = cron_times(cron, "UTC", FROM.parse::<Timestamp>().unwrap(), count).unwrap();
    times.iter().map(|time| time[..10].to_owned()).collect()
}

// B55, B56
#[test]
fn days_are_those_of_the_unix_tradition() {
    for (cron, expected) in [
        ("0 0 0 * * 1", ["2026-11-02", "2026-11-09"]),
        ("0 0 0 * * 0", ["2026-11-08", "2026-11-15"]),
        ("0 0 0 * * 7", ["2026-11-08", "2026-11-15"]),
        ("0 0 0 * * SUN", ["2026-11-08", "2026-11-15"]),
        ("0 0 0 * * 6", ["2026-11-07", "2026-11-14"]),
        // Either will do.
        ("0 0 0 13 * 5", ["2026-11-06", "2026-11-13"]),
        ("0 0 0 10 * 5", ["2026-11-06", "2026-11-10"]),
    ] {
        assert_eq!(times(cron, 2), expected, "{cron}");
    }
}

on_each_backend! {
    // B53, B54, B57, B59, B60
    async fn a_schedule_that_breaks_a_rule_is_refused_with_the_place_of_the_mistake(fresh: Fresh) {
        let border = Border::of(fresh).await;
        let schedules = border.dbos.schedules();
        let named = |name: &str, cron: &str| Schedule::new(name, cron).workflow_named("echo");
        for (cron, why) in [
            ("* * * *", "it has 4 fields; 5 are needed, or 6 with seconds first"),
            ("* * * * * * * *", "it has 8 fields; 5 are needed, or 6 with seconds first"),
            ("@every 5m", "\"@every 5m\" is none of @yearly, @monthly, @weekly, @daily and @hourly"),
            ("*/0 * * * *", "field 1, the minute, is \"*/0\": a step of 0 leads nowhere"),
            ("60 * * * * *", "field 1, the second, is \"60\": 60 is not between 0 and 59"),
            ("0 -1 * * *", "field 2, the hour, is \"-1\": a number is missing"),
            ("0 0 ١ * *", "field 3, the day-of-month, is \"١\": \"١\" is not a number that fits"),
            ("０ 0 * * *", "field 1, the minute, is \"０\": \"０\" is not a number that fits"),
            ("0 0 30 2 *", "it names no date that exists"),
        ] {
            let message = format!("schedule \"s\": cron expression {cron:?} cannot be used: {why}");
            border.refuses(schedules.create(named("s", cron)), &message).await;
            border.refuses(schedules.apply([named("s", cron)]), &message).await;
        }
        border.refuses(schedules.create(named("s", "")), "schedule \"s\": cron expression must not be empty").await;
        for zone in ["", "Mars/X", "UTC+2", "europe/berlin"] {
            let error = schedules.create(named("s", "* * * * *").time_zone(zone)).await.unwrap_err();
            assert_eq!((error.kind(), border.sent()), (ErrorKind::InvalidArgument, 0), "{zone}");
            assert!(error.to_string().contains(&format!("{zone:?}")), "{error}");
        }
        for (name, why) in bad_texts(256) {
            let message = format!("schedule name {why}");
            border.refuses(schedules.create(named(&name, "* * * * *")), &message).await;
            border.refuses(schedules.get(&name), &message).await;
            border.refuses(schedules.pause(&name), &message).await;
            border.refuses(schedules.resume(&name), &message).await;
            border.refuses(schedules.delete(&name), &message).await;
            border.refuses(schedules.trigger(&name), &message).await;
        }
        assert_eq!(border.fresh.scalar("SELECT count(*) FROM workflow_schedules").await, 0);
        for (name, cron) in [("five", "30 4 29 2 *"), ("six", "0 30 4 29 2 *"), ("backwards", "5-1 4 29 2 *")] {
            schedules.create(named(name, cron)).await.unwrap();
            assert_eq!(schedules.get(name).await.unwrap().unwrap().cron, cron, "as it was given");
        }
    }
}
