//! The condition language of the source documents, translated to CEL.
//!
//! `action == 'deploy' and environment in ["production", "staging"]`: dotted paths, comparisons,
//! `in`, `not in`, `and`, `or`, `not`, `has`, parentheses, lists, numbers, and texts in single or
//! double quotes. `not` binds looser than a comparison, as in Python. What stands inside quotes is
//! read as a text and written as one, so it can never become an operator or a name.

mod token;

use token::{Kind, Token, tokens};

/// Deepest nesting of parentheses, lists and `not`.
const DEPTH_MAX: usize = 24;
/// Names of the dialect and what they are in CEL.
const NAMES: [(&str, &str); 11] = [
    ("action", "action.verb"),
    ("resource", "action.resource"),
    ("effect", "action.effect"),
    ("environment", "action.environment"),
    ("arguments", "action.arguments"),
    ("agent", "agent"),
    ("agents", "agents"),
    ("cause", "cause"),
    ("trust", "trust"),
    ("taint", "taint"),
    ("session", "session"),
];

/// Translates; the error names the column, from 1.
pub(super) fn to_cel(source: &str) -> Result<String, String> {
    let tokens = tokens(source)?;
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        depth: 0,
    };
    let cel = parser.disjunction()?;
    match parser.peek() {
        None => Ok(cel),
        Some(_) => Err(parser.unexpected("the end")),
    }
}

/// A place among tokens.
struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn disjunction(&mut self) -> Result<String, String> {
        let mut all = self.conjunction()?;
        while self.take_word("or") {
            all = format!("{all} || {}", self.conjunction()?);
        }
        Ok(all)
    }

    fn conjunction(&mut self) -> Result<String, String> {
        let mut all = self.negation()?;
        while self.take_word("and") {
            all = format!("{all} && {}", self.negation()?);
        }
        Ok(all)
    }

    fn negation(&mut self) -> Result<String, String> {
        if !self.take_word("not") {
            return self.comparison();
        }
        let inner = self.deeper(Parser::negation)?;
        Ok(format!("!({inner})"))
    }

    fn comparison(&mut self) -> Result<String, String> {
        let left = self.operand()?;
        let compared = if let Some(Token {
            kind: Kind::Comparison(operator),
            ..
        }) = self.peek()
        {
            let operator = *operator;
            self.at += 1;
            format!("{left} {operator} {}", self.operand()?)
        } else if self.take_word("in") {
            format!("{left} in {}", self.operand()?)
        } else if self.take_word("not") {
            if !self.take_word("in") {
                return Err(self.unexpected("`in`"));
            }
            format!("!({left} in {})", self.operand()?)
        } else {
            return Ok(left);
        };
        // `a < b < c` means one thing in Python and another in CEL.
        match self.peek() {
            Some(Token {
                kind: Kind::Comparison(_),
                ..
            }) => Err(self.unexpected("`and`, `or` or the end")),
            _ => Ok(format!("({compared})")),
        }
    }

    fn operand(&mut self) -> Result<String, String> {
        let Some(token) = self.peek() else {
            return Err(self.unexpected("a name or a value"));
        };
        match &token.kind {
            Kind::Text(text) => {
                let literal = quoted(text);
                self.at += 1;
                Ok(literal)
            }
            Kind::Number(digits) => {
                let literal = digits.clone();
                self.at += 1;
                Ok(literal)
            }
            Kind::Mark('(') => {
                self.at += 1;
                let inner = self.deeper(Parser::disjunction)?;
                self.expect(')')?;
                Ok(format!("({inner})"))
            }
            Kind::Mark('[') => {
                self.at += 1;
                self.deeper(Parser::list)
            }
            Kind::Word(word) => match word.as_str() {
                "true" | "True" => self.word("true"),
                "false" | "False" => self.word("false"),
                "null" | "None" => self.word("null"),
                "has" => self.presence(),
                _ => self.path(),
            },
            Kind::Mark(_) | Kind::Comparison(_) => Err(self.unexpected("a name or a value")),
        }
    }

    fn list(&mut self) -> Result<String, String> {
        let mut items = Vec::new();
        while !self.take_mark(']') {
            if !items.is_empty() {
                self.expect(',')?;
            }
            items.push(self.operand()?);
        }
        Ok(format!("[{}]", items.join(", ")))
    }

    /// `has(arguments.x)`.
    fn presence(&mut self) -> Result<String, String> {
        self.at += 1;
        self.expect('(')?;
        let path = self.path()?;
        self.expect(')')?;
        Ok(format!("has({path})"))
    }

    fn path(&mut self) -> Result<String, String> {
        let Some(Token {
            kind: Kind::Word(name),
            ..
        }) = self.peek()
        else {
            return Err(self.unexpected("a name"));
        };
        let Some((_, cel)) = NAMES.iter().find(|(known, _)| known == name) else {
            let known: Vec<_> = NAMES.iter().map(|(known, _)| *known).collect();
            return Err(self.unexpected(&format!("one of {}", known.join(", "))));
        };
        let branches = matches!(name.as_str(), "arguments" | "session");
        let mut path = (*cel).to_owned();
        self.at += 1;
        while branches && self.take_mark('.') {
            let Some(Token {
                kind: Kind::Word(field),
                ..
            }) = self.peek()
            else {
                return Err(self.unexpected("a name"));
            };
            path = format!("{path}.{field}");
            self.at += 1;
        }
        Ok(path)
    }

    fn word(&mut self, cel: &str) -> Result<String, String> {
        self.at += 1;
        Ok(cel.to_owned())
    }

    fn deeper(&mut self, read: fn(&mut Self) -> Result<String, String>) -> Result<String, String> {
        if self.depth == DEPTH_MAX {
            return Err(format!("condition is nested deeper than {DEPTH_MAX}"));
        }
        self.depth += 1;
        let inner = read(self)?;
        self.depth -= 1;
        Ok(inner)
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let there = matches!(self.peek(), Some(Token { kind: Kind::Word(found), .. }) if found == word);
        self.at += usize::from(there);
        there
    }

    fn take_mark(&mut self, mark: char) -> bool {
        let there = matches!(self.peek(), Some(Token { kind: Kind::Mark(found), .. }) if *found == mark);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, mark: char) -> Result<(), String> {
        if self.take_mark(mark) {
            Ok(())
        } else {
            Err(self.unexpected(&format!("`{mark}`")))
        }
    }

    fn unexpected(&self, expected: &str) -> String {
        match self.peek() {
            Some(token) => format!(
                "condition: unexpected {token} at column {}: expected {expected}",
                token.column
            ),
            None => format!("condition ends where {expected} is expected"),
        }
    }
}

/// `text` as a CEL literal.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
