//! Text on its way to a terminal: what is hidden becomes visible, long lines are folded.
//!
//! Everything that came from outside passes [`visible`] or [`block`] before it is printed, so that no
//! alert, commit message or diff can move the cursor, change a colour or hide a word.

use owo_colors::OwoColorize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// One line: control characters become pictures (`␛`), other invisible ones their code (`<U+200B>`).
#[must_use]
pub fn visible(text: &str) -> String {
    rendered(text, false, None)
}

/// Several lines: like [`visible`], but line ends stay and tabs become four spaces.
#[must_use]
pub fn block(text: &str) -> String {
    rendered(text, true, None)
}

/// Like [`block`], with every character that was made visible shown in reverse: for approvals, where
/// nothing may hide.
#[must_use]
pub fn marked(text: &str) -> String {
    rendered(text, true, Some(&mut 0))
}

/// Number of characters that a reader would not see, or not see as what they are.
#[must_use]
pub fn hidden(text: &str) -> usize {
    let mut count = 0;
    let _ = rendered(text, true, Some(&mut count));
    count
}

fn rendered(text: &str, lines: bool, mut marks: Option<&mut usize>) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match (c, lines) {
            ('\n', true) => out.push('\n'),
            ('\t', true) => out.push_str("    "),
            _ => match substitute(c) {
                None => out.push(c),
                Some(shown) => match &mut marks {
                    None => out.push_str(&shown),
                    Some(count) => {
                        **count += 1;
                        out.push_str(&shown.red().reversed().to_string());
                    }
                },
            },
        }
    }
    out
}

/// What stands for a character that has no glyph of its own: Unicode's categories Cc, Cf, Cn, Co, Zl and
/// Zp, and [`LOOKS_EMPTY`].
fn substitute(c: char) -> Option<String> {
    match c {
        ' '..='~' => None,
        '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).map(String::from),
        '\u{7f}' => Some("\u{2421}".to_owned()),
        _ if has_no_glyph(c) || LOOKS_EMPTY.iter().any(|range| range.contains(&c)) => {
            Some(format!("<U+{:04X}>", u32::from(c)))
        }
        _ => None,
    }
}

/// What its category does not say: variation selectors and the joiner, which can carry hidden text, and
/// blanks that count as letters or symbols. From `Default_Ignorable_Code_Point` of Unicode's
/// `DerivedCoreProperties.txt`, without U+FE0F, which stands after every other emoji, and with the blank of
/// Braille.
const LOOKS_EMPTY: [std::ops::RangeInclusive<char>; 9] = [
    '\u{34f}'..='\u{34f}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{2800}'..='\u{2800}',
    '\u{3164}'..='\u{3164}',
    '\u{fe00}'..='\u{fe0e}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{e0000}'..='\u{e0fff}',
];

/// Whether its category is Cc, Cf, Cn, Co, Zl or Zp, by the table that Rust's core derives from
/// `UnicodeData.txt` for `escape_debug` (`core::unicode::printable`). That table has the blanks of Zs too,
/// which a reader sees as blanks. A letter goes before it, because alone a combining mark is escaped as well.
fn has_no_glyph(c: char) -> bool {
    let blank = c.is_whitespace() && !matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}');
    let pair = format!("a{c}");
    !blank && pair.escape_debug().nth(1) == Some('\\')
}

/// Columns that `text` takes, ANSI sequences not counted.
#[must_use]
pub fn width(text: &str) -> usize {
    anstream::adapter::strip_str(text).to_string().width()
}

/// Cuts to `columns` with an ellipsis. For plain text.
#[must_use]
pub fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut taken = 1;
    for c in text.chars() {
        taken += c.width().unwrap_or(0);
        if taken > columns {
            break;
        }
        out.push(c);
    }
    out.truncate(out.trim_end().len());
    out.push('…');
    out
}

/// Folds at spaces into lines of at most `columns`; longer words are cut apart. For plain text.
#[must_use]
pub fn fold(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(8);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let mut word = word.to_owned();
        if !line.is_empty() && line.width() + 1 + word.width() > columns {
            lines.push(std::mem::take(&mut line));
        }
        while word.width() > columns {
            let mut head = String::new();
            while let Some(c) = word.chars().next() {
                if head.width() + c.width().unwrap_or(0) > columns {
                    break;
                }
                head.push(c);
                word.remove(0);
            }
            lines.push(head);
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// Every line moved to the right, but for empty ones.
#[must_use]
pub fn indented(text: &str, columns: usize) -> String {
    let line = |line: &str| {
        if line.is_empty() {
            "\n".to_owned()
        } else {
            format!("{:columns$}{line}\n", "")
        }
    };
    text.lines().map(line).collect()
}

/// Git's full object names shortened to eight characters: for people. Machines get the whole.
#[must_use]
pub fn short_hashes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let name = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let hash = name.len() == 40
            && name
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        match (hash, name.get(..8), word.get(name.len()..)) {
            (true, Some(short), Some(rest)) => out.extend([short, rest]),
            _ => out.push_str(word),
        }
    }
    out
}

/// A unified diff with its lines coloured; everything in it made visible.
#[must_use]
pub fn diff(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let shown = marked(line);
        let coloured = match line.as_bytes().first() {
            _ if line.starts_with("+++") || line.starts_with("---") => shown.bold().to_string(),
            Some(b'+') => shown.green().to_string(),
            Some(b'-') => shown.red().to_string(),
            Some(b'@') => shown.cyan().to_string(),
            _ => shown,
        };
        out.push_str(&coloured);
        out.push('\n');
    }
    out
}

/// Lines that were taken away (`-`) and that came (`+`), each with up to two lines around it.
#[must_use]
pub fn changed_lines(before: &str, after: &str) -> String {
    let diff = similar::TextDiff::from_lines(before, after);
    let mut out = String::new();
    for (nth, group) in diff.grouped_ops(2).iter().enumerate() {
        if nth > 0 {
            out.push_str("@@\n");
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            out.push_str(&format!(
                "{} {}\n",
                change.tag(),
                change.value().trim_end_matches('\n')
            ));
        }
    }
    out
}

/// A time as sent, shorter: `2026-11-21T10:00:00.123Z` becomes `2026-11-21 10:00:00`.
#[must_use]
pub fn moment(text: &str) -> String {
    let text = visible(text);
    match (text.get(..10), text.get(10..11), text.get(11..19)) {
        (Some(day), Some("T"), Some(time)) => format!("{day} {time}"),
        _ => text,
    }
}

/// The time of day alone.
#[must_use]
pub fn time_of_day(text: &str) -> String {
    let moment = moment(text);
    moment
        .split_once(' ')
        .map_or(moment.clone(), |(_, time)| time.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_becomes_visible() {
        let table = [
            (
                "plain text stays",
                "deploy 1a2b über 日本",
                "deploy 1a2b über 日本",
            ),
            ("an escape sequence moves nothing", "a\u{1b}[2Jb", "a␛[2Jb"),
            ("a line end does not start a row", "a\nb\r", "a␊b␍"),
            ("delete", "a\u{7f}", "a␡"),
            ("C1 control", "a\u{9b}31m", "a<U+009B>31m"),
            ("zero width space", "a\u{200b}b", "a<U+200B>b"),
            ("right-to-left override", "a\u{202e}b", "a<U+202E>b"),
            ("tag characters", "a\u{e0041}", "a<U+E0041>"),
            (
                "variation selectors that carry bytes",
                "a\u{fe01}\u{e0100}",
                "a<U+FE01><U+E0100>",
            ),
        ];
        for (name, text, expected) in table {
            assert_eq!(visible(text), expected, "{name}");
        }
        assert_eq!(block("a\n\tb\u{1b}"), "a\n    b␛");
        assert_eq!(hidden("a\n\tb\u{1b}\u{200b}"), 2);
    }

    /// Every format character of Unicode 17, from `DerivedGeneralCategory.txt`, and the corners of the other
    /// categories that have no glyph.
    #[test]
    fn categories_without_a_glyph_are_marked_and_others_are_not() {
        #[rustfmt::skip]
        let marked = [
            0xad..=0xad, 0x600..=0x605, 0x61c..=0x61c, 0x6dd..=0x6dd, 0x70f..=0x70f, 0x890..=0x891, 0x8e2..=0x8e2,
            0x180e..=0x180e, 0x200b..=0x200f, 0x202a..=0x202e, 0x2060..=0x2064, 0x2066..=0x206f, 0xfeff..=0xfeff,
            0xfff9..=0xfffb, 0x110bd..=0x110bd, 0x110cd..=0x110cd, 0x13430..=0x1343f, 0x1bca0..=0x1bca3,
            0x1d173..=0x1d17a, 0xe0001..=0xe0001, 0xe0020..=0xe007f,
            // Cc, Zl and Zp, Co, Cn and what is no character, variation selectors.
            0x80..=0x9f, 0x2028..=0x2029, 0xe000..=0xf8ff, 0xf0000..=0xffffd, 0x100000..=0x10fffd, 0x378..=0x379,
            0xfdd0..=0xfdef, 0xfffe..=0xffff, 0x40000..=0x40100, 0x10ffff..=0x10ffff, 0xe0100..=0xe01ef,
        ];
        for code in marked.into_iter().flatten() {
            let c = char::from_u32(code).unwrap();
            assert_eq!(hidden(&c.to_string()), 1, "U+{code:04X}");
            assert_eq!(visible(&c.to_string()), format!("<U+{code:04X}>"));
        }
        for text in [
            "é e\u{301} ß 日本\u{3000}語 ไทย हिन्दी العربية עברית \u{a0}— “”",
            "👍\u{fe0f} ⏩ €",
            "\"'\\",
        ] {
            assert_eq!((hidden(text), visible(text).as_str()), (0, text));
        }
    }

    /// Texts that others hid by known tricks: nothing of them but ASCII and marks is left.
    #[test]
    fn smuggled_texts_of_the_corpus_are_seen() {
        let Some(corpora) = std::env::var_os("COFFERDAM_CORPORA") else {
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                b"COFFERDAM_CORPORA is not set: skipping\n",
            );
            return;
        };
        let file = std::path::Path::new(&corpora).join("hidden-unicode/pyrit_smuggled.jsonl");
        let mut seen = 0;
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let case: serde_json::Value = serde_json::from_str(line).unwrap();
            let encoded = case["encoded"].as_str().unwrap();
            // Some hang what they hide on a face, which stays.
            let smuggled = encoded.chars().filter(|c| !c.is_ascii() && *c != '😊').count();
            assert_eq!(hidden(encoded), smuggled, "{}", case["encoder"]);
            assert!(block(encoded).replace('😊', "").is_ascii(), "{}", case["encoder"]);
            seen += 1;
        }
        assert!(seen > 0);
    }

    #[test]
    fn folding_keeps_every_word_and_the_width() {
        let text = "the error rate of shop rose to 41.3 % supercalifragilistic after commit";
        for columns in 8..40 {
            let lines = fold(text, columns);
            assert!(lines.iter().all(|l| l.width() <= columns), "{columns}: {lines:?}");
            let joined: String = lines.concat().split_whitespace().collect();
            assert_eq!(joined, text.split_whitespace().collect::<String>(), "{columns}");
        }
        assert_eq!(fold("", 20), [""]);
    }

    #[test]
    fn changed_lines_have_context_and_nothing_else() {
        let before = "a\nb\nc\nd\ne\nf\ng\nh\n";
        let after = "a\nb\nc\nD\ne\nf\ng\nh\ni\n";
        assert_eq!(
            changed_lines(before, after),
            "  b\n  c\n- d\n+ D\n  e\n  f\n  g\n  h\n+ i\n"
        );
        assert_eq!(changed_lines(before, before), "");
        assert_eq!(changed_lines("", "x\n"), "+ x\n");
    }

    #[test]
    fn full_object_names_are_shortened_and_nothing_else() {
        let sha = "0123456789abcdef0123456789abcdef01234567";
        let text = format!("x at {sha}, {sha}0 and {}", sha.to_uppercase());
        assert_eq!(
            short_hashes(&text),
            format!("x at 01234567, {sha}0 and {}", sha.to_uppercase())
        );
        assert_eq!(short_hashes(""), "");
    }

    #[test]
    fn cutting_counts_columns() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("日本語", 4), "日…");
    }

    #[test]
    fn times_are_shortened_only_when_they_are_times() {
        assert_eq!(moment("2026-11-21T10:00:00.123Z"), "2026-11-21 10:00:00");
        assert_eq!(time_of_day("2026-11-21T10:00:00.123Z"), "10:00:00");
        assert_eq!(moment("soon\u{1b}"), "soon␛");
    }
}
