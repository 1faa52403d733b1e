//! The numbers that are given, and what holds for every history.

use super::*;
use proptest::prelude::*;

const HOUR: i64 = 60 * 60 * 1000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn signal(component: Component, severity: Severity, value: u8, ms: i64) -> Signal {
    Signal {
        at: at(ms),
        entry: 1,
        what: "x".to_owned(),
        component,
        severity,
        value,
    }
}

fn of(signals: &[Signal]) -> Signals {
    let mut all = Signals::default();
    signals.iter().for_each(|one| all.add(one.clone()));
    all
}

#[test]
fn a_score_is_what_signals_leave_of_four_bases() {
    use Component::{Behaviour, Compliance, Identity, Network};
    use Severity::{Critical, High, Info, Low, Medium};
    #[rustfmt::skip]
    let table = [
        // what the row shows       signals                                                     score level
        ("nothing",                 vec![],                                                     775, "low"),
        ("identity, 20 of it",      vec![(Identity, Critical, 100)],                            735, "low"),
        ("behaviour, 25 of it",     vec![(Behaviour, Critical, 100)],                           700, "low"),
        ("network, 20 of it",       vec![(Network, Critical, 100)],                             735, "low"),
        ("compliance, 30 of it",    vec![(Compliance, Critical, 100)],                          685, "low"),
        ("three quarters",          vec![(Compliance, High, 100)],                              707, "low"),
        ("half",                    vec![(Compliance, Medium, 100)],                            730, "low"),
        ("a quarter",               vec![(Compliance, Low, 100)],                               752, "low"),
        ("a tenth",                 vec![(Compliance, Info, 100)],                              766, "low"),
        ("half of a quarter",       vec![(Compliance, Low, 50)],                                763, "low"),
        ("fractions add up",        vec![(Compliance, Low, 50), (Compliance, Low, 50)],         752, "low"),
        ("no more than there is",   vec![(Compliance, Critical, 100); 9],                       520, "medium"),
        ("two components gone",     vec![(Compliance, Critical, 100); 3].into_iter().chain(vec![(Behaviour, Critical, 100); 3]).collect(), 310, "high"),
        ("all but identity",        [Compliance, Behaviour, Network].into_iter().flat_map(|of| vec![(of, Critical, 100); 4]).collect(), 160, "critical"),
    ];
    for (name, signals, score, level) in table {
        let signals: Vec<_> = signals
            .into_iter()
            .map(|(component, severity, value)| signal(component, severity, value, 0))
            .collect();
        let risk = of(&signals).risk(Vec::new(), at(1));
        assert_eq!(
            (risk.score, risk.level.as_str()),
            (score, level),
            "{name}: {risk:?}"
        );
        assert_eq!(risk.signals.len(), signals.len(), "{name}");
    }
}

#[test]
fn boundaries_belong_to_the_safer_level() {
    #[rustfmt::skip]
    let table = [
        (0, "critical"), (199, "critical"), (200, "high"), (399, "high"), (400, "medium"), (599, "medium"),
        (600, "low"), (799, "low"), (800, "minimal"), (1000, "minimal"),
    ];
    for (score, level) in table {
        assert_eq!(RiskLevel::of(score).as_str(), level, "{score}");
    }
    assert!(RiskLevel::Critical < RiskLevel::High && RiskLevel::Low < RiskLevel::Minimal);
}

#[test]
fn a_signal_counts_for_a_day() {
    let signals = of(&[signal(Component::Behaviour, Severity::Critical, 100, 0)]);
    #[rustfmt::skip]
    let table = [(0, 700), (23 * HOUR, 700), (24 * HOUR - 1, 700), (24 * HOUR, 775), (99 * HOUR, 775)];
    for (ms, score) in table {
        let risk = signals.risk(Vec::new(), at(ms));
        assert_eq!(
            (risk.score, risk.critical),
            (score, usize::from(score == 700)),
            "{ms}"
        );
        assert_eq!(signals.are_over(at(ms)), score == 775, "{ms}");
        assert_eq!(signals.fell(at(ms)), if score == 700 { 100 } else { 0 });
    }
}

#[test]
fn an_impact_is_kept_by_its_severity_and_value() {
    #[rustfmt::skip]
    let table = [
        (100, (Severity::Critical, 100)), (50, (Severity::Medium, 100)), (25, (Severity::Low, 100)),
        (60, (Severity::High, 80)), (5, (Severity::Info, 50)), (0, (Severity::Info, 0)), (255, (Severity::Critical, 100)),
    ];
    for (impact, expected) in table {
        assert_eq!(Signal::graded(impact), expected, "{impact}");
    }
}

#[test]
fn what_others_did_lowers_the_network_alone_and_never_raises() {
    #[rustfmt::skip]
    let table = [
        // share   fell  arrives  network  score
        (1_500,    0,    0,       7_500,   775),
        (1_500,    100,  1_500,   7_200,   769),
        (750,      100,  750,     7_350,   772),
        (30,       100,  30,      7_494,   774),
        (1_500,    1_000, 15_000, 4_500,   715),
    ];
    for (share, fell, arrives, network, score) in table {
        let echo = Echo::new("other".to_owned(), 1, 100, share, fell);
        assert_eq!(echo.arrives, arrives);
        let risk = Signals::default().risk(vec![echo], at(0));
        assert_eq!(
            (risk.parts[2].value, risk.score),
            (network, score),
            "{fell} × {share}"
        );
        let others: Vec<u64> = [0, 1, 3].map(|at: usize| risk.parts[at].taken).to_vec();
        assert_eq!(others, [0; 3]);
    }
}

#[test]
fn whom_to_look_after() {
    use Trend::{Falling, Rising, Steady};
    #[rustfmt::skip]
    let table = [
        (600, Steady,  0,   RiskLevel::Low,      vec![]),
        (500, Rising,  60,  RiskLevel::Medium,   vec![]),
        (499, Steady,  -10, RiskLevel::Low,      vec!["trust 499 is probationary"]),
        (620, Falling, -80, RiskLevel::Low,      vec!["trust fell by 80"]),
        (620, Steady,  0,   RiskLevel::High,     vec!["risk is high"]),
        (200, Falling, -99, RiskLevel::Critical, vec!["trust 200 is untrusted", "trust fell by 99", "risk is critical"]),
    ];
    for (score, trend, change, risk, expected) in table {
        assert_eq!(concerns(score, trend, change, risk), expected, "{score}");
    }
}

fn any_signal() -> impl Strategy<Value = (Signal, i64)> {
    let component = prop::sample::select(&Component::ALL);
    let severity = prop::sample::select(&Severity::ALL);
    (component, severity, 0..6 * HOUR)
        .prop_map(|(component, severity, pause)| (signal(component, severity, 100, 0), pause))
}

proptest! {
    /// What is kept gives the same score as all that ever happened.
    #[test]
    fn what_is_forgotten_makes_no_difference(events in prop::collection::vec(any_signal(), 0..400), later in 0..40 * HOUR) {
        let (mut kept, mut all, mut now) = (Signals::default(), Vec::new(), 0);
        for (mut one, pause) in events {
            // Many at once, so that there are more than are kept.
            now += if pause % 8 == 0 { pause } else { 0 };
            one.at = at(now);
            kept.add(one.clone());
            all.push(one);
            prop_assert!(kept.0.len() <= KEPT_MAX * Component::ALL.len());
        }
        for now in [now, now + later] {
            let (found, whole) = (kept.risk(Vec::new(), at(now)), Signals(all.clone()).risk(Vec::new(), at(now)));
            prop_assert_eq!((found.score, found.level), (whole.score, whole.level));
        }
    }
}
