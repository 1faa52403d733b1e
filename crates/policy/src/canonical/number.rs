//! Numbers as ECMAScript writes them (RFC 8785, section 3.2.2.3), and which of them are integers.

use super::INTEGER_MAX;
use serde_json::Number;
use std::io::Write as _;

/// Appends the canonical text of `number`; `None` when it cannot be carried without loss: an integer
/// outside ±(2^53 − 1), or a fraction-less double that would print as one.
pub(super) fn write(out: &mut Vec<u8>, number: &Number) -> Option<()> {
    if let Some(whole) = whole(number) {
        let safe = (-INTEGER_MAX..=INTEGER_MAX).contains(&whole);
        return safe.then(|| write_whole(out, whole));
    }
    if number.is_u64() {
        return None;
    }
    let double = number.as_f64().filter(|double| carried(*double))?;
    out.extend_from_slice(ecmascript(double).as_bytes());
    Some(())
}

fn write_whole(out: &mut Vec<u8>, whole: i64) {
    // Writing to memory cannot fail.
    drop(write!(out, "{whole}"));
}

/// The integer that `number` is, however it was written; `None` for fractions and for what does
/// not fit in 64 bits.
pub(crate) fn whole(number: &Number) -> Option<i64> {
    if let Some(integer) = number.as_i64() {
        return Some(integer);
    }
    let double = number.as_f64().filter(|_| number.is_f64())?;
    exact(double)
}

/// The safe integer that `double` is.
pub(super) fn exact(double: f64) -> Option<i64> {
    let safe = double.fract() == 0.0 && double.abs() <= INTEGER_MAX as f64;
    // Lossless: a whole number within ±(2^53 − 1). Minus zero becomes zero, as RFC 8785 prints it.
    safe.then_some(double as i64)
}

/// Whether `double` survives being printed and read by everybody: finite, and not one of those that
/// print as an integer beyond 2^53 − 1 (ECMAScript prints plain digits below 1e21).
pub(super) fn carried(double: f64) -> bool {
    double.is_finite() && (double.abs() <= INTEGER_MAX as f64 || double.abs() >= 1e21)
}

/// `Number::toString` of ECMAScript, for a finite double: the shortest digits that read back as the
/// same double, with an exponent from 1e21 up and below 1e-6.
pub(super) fn ecmascript(double: f64) -> String {
    if double == 0.0 {
        return "0".to_owned();
    }
    let sign = if double < 0.0 { "-" } else { "" };
    let shortest = shortest(double.abs());
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    // The decimal point stands after `point` digits: `n` in ECMA-262.
    let point = exponent.parse::<i32>().unwrap_or(0) + 1;
    let zeros = |n: i32| "0".repeat(usize::try_from(n).unwrap_or(0));
    let split = |at: i32| {
        digits
            .split_at_checked(usize::try_from(at).unwrap_or(0))
            .unwrap_or((&digits, ""))
    };
    if count <= point && point <= 21 {
        format!("{sign}{digits}{}", zeros(point - count))
    } else if 0 < point && point <= 21 {
        let (before, after) = split(point);
        format!("{sign}{before}.{after}")
    } else if -6 < point && point <= 0 {
        format!("{sign}0.{}{digits}", zeros(-point))
    } else {
        let (first, rest) = split(1);
        let dot = if rest.is_empty() { "" } else { "." };
        let plus = if point > 0 { "+" } else { "" };
        format!("{sign}{first}{dot}{rest}e{plus}{}", point - 1)
    }
}

/// The shortest digits that read back as `double`, as `d.ddde±x`; of two equally close candidates the
/// even one, as ECMA-262 recommends and RFC 8785 requires.
fn shortest(double: f64) -> String {
    // Rust prints the shortest digits, but on a tie not the even ones. Printing as many digits exactly
    // rounds to even; next to a power of two that may not read back, and then there was no tie.
    let shortest = format!("{double:e}");
    let digits = shortest
        .split('e')
        .next()
        .unwrap_or_default()
        .bytes()
        .filter(u8::is_ascii_digit)
        .count();
    let even = format!("{double:.*e}", digits.saturating_sub(1));
    if even.parse() == Ok(double) {
        even
    } else {
        shortest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_print_as_rfc_8785_appendix_b_says() {
        #[rustfmt::skip]
        let table = [
            (0x0000000000000000, "0"),
            (0x8000000000000000, "0"),
            (0x0000000000000001, "5e-324"),
            (0x8000000000000001, "-5e-324"),
            (0x7fefffffffffffff, "1.7976931348623157e+308"),
            (0xffefffffffffffff, "-1.7976931348623157e+308"),
            (0x4340000000000000, "9007199254740992"),
            (0xc340000000000000, "-9007199254740992"),
            (0x4430000000000000, "295147905179352830000"),
            (0x44b52d02c7e14af5, "9.999999999999997e+22"),
            (0x44b52d02c7e14af6, "1e+23"),
            (0x44b52d02c7e14af7, "1.0000000000000001e+23"),
            (0x444b1ae4d6e2ef4e, "999999999999999700000"),
            (0x444b1ae4d6e2ef4f, "999999999999999900000"),
            (0x444b1ae4d6e2ef50, "1e+21"),
            (0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"),
            (0x3eb0c6f7a0b5ed8d, "0.000001"),
            (0x41b3de4355555553, "333333333.3333332"),
            (0x41b3de4355555554, "333333333.33333325"),
            (0x41b3de4355555555, "333333333.3333333"),
            (0x41b3de4355555556, "333333333.3333334"),
            (0x41b3de4355555557, "333333333.33333343"),
            (0xbecbf647612f3696, "-0.0000033333333333333333"),
            (0x43143ff3c1cb0959, "1424953923781206.2"),
        ];
        for (bits, expected) in table {
            assert_eq!(ecmascript(f64::from_bits(bits)), expected, "{bits:016x}");
        }
    }

    #[test]
    fn what_prints_as_an_unsafe_integer_is_not_carried() {
        for (double, expected) in [
            (9007199254740991.0, true),
            (9007199254740992.0, false),
            (-9007199254740992.0, false),
            (999999999999999900000.0, false),
            (1e21, true),
            (-1e30, true),
            (0.5, true),
            (f64::INFINITY, false),
            (f64::NAN, false),
        ] {
            assert_eq!(carried(double), expected, "{double}");
        }
    }
}
