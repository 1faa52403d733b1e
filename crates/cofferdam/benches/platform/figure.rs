//! One line for each figure, the same in every bench of the workspace.
//!
//! Timing never decides: a goal that was not reached is printed as `MISS`, and nothing fails.

use std::ops::{Bound, RangeBounds};

/// Prints `name`, `value` in `unit`, the goal (`..=10.0` is at most ten, `..` is none), what the value
/// is to be seen `beside`, above all a limit measured in the same run, and `ok` or `MISS`.
pub fn figure(name: &str, value: f64, unit: &str, goal: impl RangeBounds<f64>, beside: &str) {
    let goal_text = match (goal.start_bound(), goal.end_bound()) {
        (Bound::Included(least), _) => format!("≥ {least} {unit}"),
        (_, Bound::Included(most)) => format!("≤ {most} {unit}"),
        (_, Bound::Excluded(above)) => format!("< {above} {unit}"),
        _ => String::new(),
    };
    let verdict = match goal_text.is_empty() {
        true => "",
        false if goal.contains(&value) => "ok",
        false => "MISS",
    };
    let digits = match value {
        value if value >= 100.0 || value.fract() == 0.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    let value = format!("{value:.digits$} {unit}");
    println!("{name:<46} {value:>10}  {goal_text:<10}  {beside:<58} {verdict}");
}
