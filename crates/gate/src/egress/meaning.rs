//! What a method of HTTP does to what it is sent to (RFC 9110, sections 9.2.1 and 9.2.2).

use policy::{Effect, Idempotence};

/// Effect and idempotence of `method`. An unknown one is taken for the worst.
pub fn meaning(method: &str) -> (Effect, Idempotence) {
    match method {
        "GET" | "HEAD" | "OPTIONS" => (Effect::Read, Idempotence::Idempotent),
        "PUT" => (Effect::Write, Idempotence::Idempotent),
        "POST" | "PATCH" => (Effect::Write, Idempotence::Once),
        "DELETE" => (Effect::Destructive, Idempotence::Idempotent),
        _ => (Effect::Destructive, Idempotence::Once),
    }
}

/// Whether `method` only reads.
pub fn is_read(method: &str) -> bool {
    meaning(method).0 == Effect::Read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_method_decides_the_effect() {
        let methods = [
            "GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "MKCOL", "get",
        ];
        let said: Vec<String> = methods
            .iter()
            .map(|m| format!("{m} {:?} {:?}", meaning(m).0, meaning(m).1))
            .collect();
        assert_eq!(
            said,
            [
                "GET Read Idempotent",
                "HEAD Read Idempotent",
                "OPTIONS Read Idempotent",
                "POST Write Once",
                "PUT Write Idempotent",
                "PATCH Write Once",
                "DELETE Destructive Idempotent",
                "MKCOL Destructive Once",
                "get Destructive Once",
            ]
        );
    }
}
