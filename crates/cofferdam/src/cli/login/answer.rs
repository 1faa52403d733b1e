//! What a provider sends back through the browser: read strictly, since any page can make a browser send it.

use reqwest::Url;

/// Longest answer that is read, in bytes.
pub const ANSWER_BYTES_MAX: usize = 8 * 1024;
/// Longest piece of a provider's own words that is repeated, in characters.
const WORDS_MAX: usize = 200;

/// What the answer has to be to.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Ours, of this login alone.
    pub state: String,
    /// Who was asked.
    pub issuer: String,
    /// Whether that one always says who it is (RFC 9207).
    pub names_itself: bool,
}

/// Why an answer gives no code.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Longer than any.
    #[error("the answer that the browser brought is too long")]
    TooLong,
    /// Two readings of one answer.
    #[error("the answer that the browser brought has `{0}` twice")]
    Twice(&'static str),
    /// Somebody else's login, or a forged one.
    #[error("the browser brought an answer to another login: its state is not ours")]
    State,
    /// Another provider's answer.
    #[error("the browser brought an answer of another issuer than was asked")]
    Issuer,
    /// The provider, or the person there, said no.
    #[error("the provider let nobody in: {0}")]
    Denied(String),
    /// Neither a code nor an error.
    #[error("the answer that the browser brought holds no code")]
    NoCode,
}

/// The code in the query of a redirect.
///
/// # Errors
/// Why there is none that may be used. Of an answer to something else nothing is repeated.
pub fn read(query: &str, asked: &Asked) -> Result<secrets::Secret, Refused> {
    if query.len() > ANSWER_BYTES_MAX {
        return Err(Refused::TooLong);
    }
    let mut url = Url::parse("http://127.0.0.1/").map_err(|_| Refused::NoCode)?;
    url.set_query(Some(query));
    let [code, state, issuer, error, description] = fields(&url)?;
    if state.is_none_or(|state| state != asked.state) {
        return Err(Refused::State);
    }
    match issuer {
        Some(issuer) if issuer != asked.issuer => return Err(Refused::Issuer),
        None if asked.names_itself => return Err(Refused::Issuer),
        Some(_) | None => {}
    }
    if let Some(error) = error {
        return Err(Refused::Denied(told(&error, description.as_deref())));
    }
    let code = code.filter(|code| !code.is_empty()).ok_or(Refused::NoCode)?;
    Ok(secrets::Secret::new(code.into_bytes()))
}

/// `code: what it means`, as the provider says it, cut short.
pub fn told(error: &str, description: Option<&str>) -> String {
    let cut = |text: &str| text.chars().take(WORDS_MAX).collect::<String>();
    match description.filter(|text| !text.is_empty()) {
        Some(text) => format!("{}: {}", cut(error), cut(text)),
        None => cut(error),
    }
}

/// Each field at most once (RFC 6749, 3.1).
fn fields(url: &Url) -> Result<[Option<String>; 5], Refused> {
    let names = ["code", "state", "iss", "error", "error_description"];
    let mut found = [const { None }; 5];
    for (key, value) in url.query_pairs() {
        let known = names.iter().zip(&mut found).find(|(name, _)| **name == key);
        if let Some((name, slot)) = known
            && slot.replace(value.into_owned()).is_some()
        {
            return Err(Refused::Twice(name));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_to_this_login_gives_a_code() {
        let long = format!("state=s&code={}", "x".repeat(ANSWER_BYTES_MAX));
        #[rustfmt::skip]
        let table = [
            // what the row shows               query                                             names itself, what comes of it
            ("a code",                          "code=c%2B1&state=s",                             false, "c+1"),
            ("by whom it should be",            "code=c&state=s&iss=https%3A%2F%2Fid.example",    true,  "c"),
            ("more than we know",               "code=c&state=s&session_state=x",                 false, "c"),
            ("no state",                        "code=c",                                         false, "the browser brought an answer to another login: its state is not ours"),
            ("another state",                   "code=c&state=t",                                 false, "the browser brought an answer to another login: its state is not ours"),
            ("an error to another login",       "error=access_denied&state=t",                    false, "the browser brought an answer to another login: its state is not ours"),
            ("two states",                      "code=c&state=s&state=t",                         false, "the answer that the browser brought has `state` twice"),
            ("two codes",                       "code=c&code=d&state=s",                          false, "the answer that the browser brought has `code` twice"),
            ("another issuer",                  "code=c&state=s&iss=https%3A%2F%2Fevil.example",  false, "the browser brought an answer of another issuer than was asked"),
            ("no issuer where there is one",    "code=c&state=s",                                 true,  "the browser brought an answer of another issuer than was asked"),
            ("denied",                          "error=access_denied&error_description=no&state=s", false, "the provider let nobody in: access_denied: no"),
            ("denied without a word",           "error=server_error&state=s",                     false, "the provider let nobody in: server_error"),
            ("an error beside a code",          "error=x&code=c&state=s",                         false, "the provider let nobody in: x"),
            ("no code",                         "state=s",                                        false, "the answer that the browser brought holds no code"),
            ("an empty code",                   "state=s&code=",                                  false, "the answer that the browser brought holds no code"),
            ("too long",                        &long,                                            false, "the answer that the browser brought is too long"),
            ("nothing",                         "",                                               false, "the browser brought an answer to another login: its state is not ours"),
        ];
        for (name, query, names_itself, expected) in table {
            let asked = Asked {
                state: "s".to_owned(),
                issuer: "https://id.example".to_owned(),
                names_itself,
            };
            let got = match read(query, &asked) {
                Ok(code) => String::from_utf8(code.expose().to_vec()).unwrap(),
                Err(refused) => refused.to_string(),
            };
            assert_eq!(got, expected, "{name}");
        }
    }
}
