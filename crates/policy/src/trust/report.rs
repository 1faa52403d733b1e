//! How the trust in an agent went over some days: the least, the most, the mean and where it is heading (S3-B17).
//! From what each day left and what there is now, so that silence counts too.

use super::Trend;
use super::told::trend_of_score;
use serde::Serialize;

/// What one day left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each name is the documentation of its value")]
pub struct DayScores {
    pub low: u16,
    pub high: u16,
    pub last: u16,
}

/// How a score went over some days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Course {
    /// The least score, 0 to 1000.
    pub min: u16,
    /// The greatest.
    pub max: u16,
    /// The mean of what each day with an event left and of what there is now, rounded down.
    pub avg: u16,
    /// Now, less what there was when the days began: points.
    pub change: i64,
    /// By 50 points or more (S3-B9).
    pub trend: Trend,
}

/// The course of a score over `days`, the oldest first, up to what it is `now`. `before` is what was left before
/// the first of them; without it the first day's last score is what it began with.
pub fn course(before: Option<u16>, days: &[DayScores], now: u16) -> Course {
    let lows = days.iter().map(|day| day.low).chain([now]);
    let highs = days.iter().map(|day| day.high).chain([now]);
    let lasts: Vec<u64> = days.iter().map(|day| u64::from(day.last)).collect();
    let (sum, count) = (lasts.iter().sum::<u64>() + u64::from(now), lasts.len() + 1);
    let avg = sum / u64::try_from(count).unwrap_or(u64::MAX);
    let began = before.or(days.first().map(|day| day.last)).unwrap_or(now);
    let change = i64::from(now) - i64::from(began);
    Course {
        min: lows.min().unwrap_or(now),
        max: highs.max().unwrap_or(now),
        avg: u16::try_from(avg).unwrap_or(now),
        change,
        trend: trend_of_score(change),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_course_is_made_of_days_and_of_now() {
        use Trend::{Falling, Rising, Steady};
        let day = |low, high, last| DayScores { low, high, last };
        #[rustfmt::skip]
        let table = [
            // what the row shows          before     days                                          now   min  max  avg  change trend
            ("nothing happened",           None,      vec![],                                       600, (600, 600, 600,   0, Steady)),
            ("silence alone",              Some(600), vec![],                                       540, (540, 540, 540, -60, Falling)),
            ("one day",                    None,      vec![day(580, 640, 620)],                     620, (580, 640, 620,   0, Steady)),
            ("from what there was before", Some(560), vec![day(580, 640, 620)],                     620, (580, 640, 620,  60, Rising)),
            ("a mean of what days left",   Some(600), vec![day(600, 650, 640), day(500, 640, 510)], 511, (500, 650, 553, -89, Falling)),
            ("49 points are none",         Some(600), vec![day(600, 650, 649)],                     649, (600, 650, 649,  49, Steady)),
            ("50 are",                     Some(600), vec![day(600, 650, 650)],                     650, (600, 650, 650,  50, Rising)),
        ];
        for (name, before, days, now, expected) in table {
            let found = course(before, &days, now);
            assert_eq!(
                (found.min, found.max, found.avg, found.change, found.trend),
                expected,
                "{name}"
            );
        }
    }
}
