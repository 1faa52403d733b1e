//! What a client is told when it is refused: a status, a line that frameworks show, and JSON with the reason, the
//! rule and the entry. Never what the gate knows besides.

use crate::Refusal;
use serde_json::json;

/// Longest reason in a status line, in characters.
const LINE_CHARS_MAX: usize = 160;

/// A refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refused {
    /// 400 to 599.
    pub status: u16,
    /// A stable word for machines.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// What would change it.
    pub remedy: Option<Box<str>>,
    /// Which rule.
    pub rule: Option<Box<str>>,
    /// The entry that holds it.
    pub entry: Option<u64>,
    /// When to come again, in seconds.
    pub retry_after: Option<u32>,
}

impl Refused {
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Refused {
        Refused {
            status,
            code,
            message: message.into(),
            ..Refused::default()
        }
    }

    #[must_use]
    pub fn by(self, rule: &str) -> Refused {
        Refused {
            rule: Some(rule.into()),
            ..self
        }
    }

    #[must_use]
    pub fn recorded(self, entry: Option<u64>) -> Refused {
        Refused {
            entry: entry.or(self.entry),
            ..self
        }
    }

    #[must_use]
    pub fn remedied(self, remedy: impl Into<Box<str>>) -> Refused {
        Refused {
            remedy: Some(remedy.into()),
            ..self
        }
    }

    /// The gate's own.
    pub fn of(refusal: &Refusal) -> Refused {
        let message = refusal.to_string();
        match refusal {
            Refusal::Denied(denial) => Refused {
                rule: denial.rule().map(|rule| rule.0.clone().into()),
                remedy: Some(denial.remedy().into()),
                ..Refused::new(403, denial.code(), message)
            },
            Refusal::Stopped(_) => Refused::new(403, "stopped", message).remedied("lift the stop"),
            Refusal::Bound { retry_after_ms, .. } => Refused {
                retry_after: retry_after_ms.map(seconds),
                ..Refused::new(429, "bound", message)
            },
            Refusal::Unpaid(unpaid) => Refused {
                retry_after: unpaid.retry_after_ms.map(seconds),
                remedy: Some(unpaid.remedy().into()),
                ..Refused::new(
                    429,
                    if unpaid.throttled { "throttled" } else { "budget" },
                    message,
                )
            },
            Refusal::Parked { .. } => {
                Refused::new(403, "needs_approval", message).remedied("the same again, once it is approved")
            }
            Refusal::NotApproved { .. } => Refused::new(403, "not_approved", message),
            Refusal::NotActing(..) => Refused::new(403, "not_acting", message),
            Refusal::AlreadyAdmitted { .. } => Refused::new(409, "already_admitted", message),
            Refusal::Unrecorded(_) => Refused::new(503, "unrecorded", message),
        }
    }

    /// As HTTP/1.1, after which the connection ends.
    pub fn http(&self) -> Vec<u8> {
        // Many clients show the status line of a refused CONNECT and nothing else.
        let line: String = self.message.chars().map(printable).take(LINE_CHARS_MAX).collect();
        let body = json!({
            "message": self.message, "code": self.code, "rule": self.rule, "entry": self.entry,
            "remedy": self.remedy, "by": "cofferdam",
        });
        let body = format!("{body}\n");
        let mut head = format!(
            "HTTP/1.1 {} {line}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\
             Cofferdam-Reason: {}\r\n",
            self.status,
            body.len(),
            self.code,
        );
        if self.status == 407 {
            head.push_str("Proxy-Authenticate: Basic realm=\"cofferdam\"\r\nProxy-Authenticate: Bearer\r\n");
        }
        if let Some(seconds) = self.retry_after {
            head.push_str(&format!("Retry-After: {seconds}\r\n"));
        }
        format!("{head}\r\n{body}").into_bytes()
    }

    /// As SOCKS5 has it: not allowed, host unreachable, or a general failure.
    pub fn socks(&self) -> [u8; 10] {
        let code = match self.status {
            400..=499 => 2,
            502 | 504 => 4,
            _ => 1,
        };
        [5, code, 0, 1, 0, 0, 0, 0, 0, 0]
    }
}

fn seconds(ms: i64) -> u32 {
    u32::try_from((ms.max(0) + 999) / 1000).unwrap_or(u32::MAX)
}

fn printable(c: char) -> char {
    match c {
        ' '..='~' => c,
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_status_line_and_in_json() {
        let refused = Refused::new(403, "no_rule", "no\r\nX: é")
            .by("egress/a#b")
            .recorded(Some(7));
        let text = String::from_utf8(refused.http()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(head.lines().next(), Some("HTTP/1.1 403 no??X: ?"));
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            body,
            json!({ "message": "no\r\nX: é", "code": "no_rule", "rule": "egress/a#b", "entry": 7,
                    "remedy": null, "by": "cofferdam" })
        );
        assert!(head.contains("Content-Length: "));
        assert_eq!(refused.socks()[1], 2);
    }
}
