//! People of a directory (LDAP): found by their name, proved by their password, given roles by their groups.
//!
//! The client is our own, of the four operations that a login takes: the library for it reads answers with
//! recursion and memory that nothing bounds, and ends the process over some of them.
//!
//! Invariants:
//! - **No bind without a password**: an empty one would be nobody's, and succeed.
//! - **One name for one person**: the directory's own spelling of it, of which there is exactly one.
//! - **What is typed is a value**, never part of a filter or of a distinguished name.

pub mod ber;
mod connection;
pub mod filter;
pub mod message;
mod spec;

pub use spec::{Bind, LdapSpec};

use connection::{Connection, Trouble};
use filter::Filter;
use message::{Found, Search};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// How long one login may take at the directory.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The same for one search, in seconds, as the directory is told.
const SEARCH_SECONDS: u32 = 5;
/// Longest name or password that is looked at, in bytes.
pub const TYPED_BYTES_MAX: usize = 256;
/// Longest distinguished name that is followed, in bytes.
const DN_BYTES_MAX: usize = 1024;
/// Most groups of one person.
const GROUPS_MAX: u32 = 200;
/// How many groups may stand in each other.
const NESTED_MAX: usize = 5;
/// `invalidCredentials`.
const WRONG_PASSWORD: u32 = 49;

/// Who somebody is, as the directory says it.
#[derive(Debug, PartialEq, Eq)]
pub struct Person {
    /// The directory's own spelling.
    pub name: String,
    /// As `roles` may name them.
    pub groups: Vec<String>,
}

/// Why nobody came in.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Which of both is wrong, and whether there is such a name, is told to nobody; the record has a word for it.
    #[error("the name or the password is wrong")]
    Wrong(&'static str),
    /// It is them, and the directory does not say what they are in.
    #[error("{0}")]
    Unclear(&'static str),
    /// The directory could not be asked.
    #[error("{0}")]
    Trouble(String),
}

/// Why it is wrong, for the record: who typed it is told the same of all.
const WHY: [(&str, &str); 9] = [
    ("bind_refused", "the directory does not let that person in"),
    (
        "name_unclear",
        "the directory has not exactly one name for that person",
    ),
    ("no_name", "what was typed can be nobody's name here"),
    ("password_empty", "there was no password"),
    ("password_wrong", "the password is wrong"),
    ("people_several", "the directory has several people of that name"),
    (
        "person_unclear",
        "the directory names that person in a way that is not followed",
    ),
    ("person_unknown", "the directory has nobody of that name"),
    ("too_long", "what was typed is longer than is looked at"),
];

impl From<Trouble> for Refused {
    fn from(trouble: Trouble) -> Refused {
        Refused::Trouble(trouble.to_string())
    }
}

impl Refused {
    /// In words, for the record; never what was typed.
    #[must_use]
    pub fn why(&self) -> String {
        let known = |wrong: &str| WHY.iter().find(|(code, _)| *code == wrong);
        match self {
            Refused::Wrong(wrong) => {
                known(wrong).map_or_else(|| self.to_string(), |(_, why)| (*why).to_owned())
            }
            Refused::Unclear(_) | Refused::Trouble(_) => self.to_string(),
        }
    }

    /// A stable snake_case word for the record; `None` for what is no refusal.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Refused::Wrong(code) => Some(code),
            Refused::Unclear(_) => Some("groups_unclear"),
            Refused::Trouble(_) => None,
        }
    }
}

/// Whose password this is. Nothing below `private` is sent as the service's own.
///
/// # Errors
/// See [`Refused`].
pub async fn authenticate(
    spec: &LdapSpec,
    name: &str,
    password: &secrets::Secret,
    private: &[PathBuf],
) -> Result<Person, Refused> {
    let length = password.expose().len();
    if length == 0 {
        return Err(Refused::Wrong("password_empty"));
    }
    if name.is_empty() || name.len() > TYPED_BYTES_MAX || length > TYPED_BYTES_MAX {
        return Err(Refused::Wrong("too_long"));
    }
    let late = || Refused::Trouble(format!("it did not answer within {} seconds", TIMEOUT.as_secs()));
    let asking = asked(spec, name, password, private);
    tokio::time::timeout(TIMEOUT, asking).await.map_err(|_| late())?
}

async fn asked(
    spec: &LdapSpec,
    name: &str,
    password: &secrets::Secret,
    private: &[PathBuf],
) -> Result<Person, Refused> {
    let mut directory = Connection::open(spec.target().map_err(Refused::Trouble)?).await?;
    as_service(spec, &mut directory, private).await?;
    // 1. Who that is.
    let filter = Filter::all(&[
        spec.people().map_err(|why| Refused::Trouble(why.to_owned()))?,
        Filter::equal(&spec.user_attribute, name),
    ]);
    let entry = the_one(
        spec.search(&mut directory, &spec.base_dn, &filter, &spec.user_attribute, 1)
            .await?,
    )?;
    let own_name = match entry.values.as_slice() {
        [own_name] if !entry.cut => own_name.clone(),
        _ => return Err(Refused::Wrong("name_unclear")),
    };
    // 2. Whether it is them.
    match directory.bind(&entry.dn, password.expose()).await? {
        0 => {}
        WRONG_PASSWORD => return Err(Refused::Wrong("password_wrong")),
        // Locked, expired, disabled: the directory's reasons are its own.
        _ => return Err(Refused::Wrong("bind_refused")),
    }
    // 3. What they are in, as the service sees it; without one as they see it themselves.
    if spec.bind.is_some() {
        as_service(spec, &mut directory, private).await?;
    }
    let groups = groups(spec, &mut directory, &entry.dn).await?;
    Ok(Person {
        name: own_name,
        groups,
    })
}

async fn as_service(spec: &LdapSpec, directory: &mut Connection, private: &[PathBuf]) -> Result<(), Refused> {
    let Some(bind) = &spec.bind else { return Ok(()) };
    let password = secrets::own(&bind.secret_ref, private);
    let password = password.map_err(|error| Refused::Trouble(error.to_string()))?;
    match directory.bind(&bind.dn, password.expose()).await? {
        0 => Ok(()),
        code => Err(Trouble::Refused("the bind of `bind.dn`", code).into()),
    }
}

fn the_one(mut found: Vec<Found>) -> Result<Found, Refused> {
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(Refused::Wrong("person_unknown")),
        (Some(one), true) if one.dn.is_empty() || one.dn.len() > DN_BYTES_MAX => {
            Err(Refused::Wrong("person_unclear"))
        }
        (Some(one), true) => Ok(one),
        (Some(_), false) => Err(Refused::Wrong("people_several")),
    }
}

/// The groups of `dn`: of the attribute, and those that hold them, and those that hold these.
async fn groups(spec: &LdapSpec, directory: &mut Connection, dn: &str) -> Result<Vec<String>, Refused> {
    let mut names = BTreeSet::new();
    if let Some(attribute) = &spec.group_attribute {
        let filter = Filter::parse("(objectClass=*)").map_err(|why| Refused::Trouble(why.to_owned()))?;
        for own in spec.search(directory, dn, &filter, attribute, 0).await? {
            names.extend(whole(own)?.values);
        }
    }
    if let Some(base) = &spec.group_base_dn {
        let kind = spec.groups().map_err(|why| Refused::Trouble(why.to_owned()))?;
        let (mut seen, mut edge) = (BTreeSet::new(), vec![dn.to_owned()]);
        for _ in 0..NESTED_MAX {
            let mut above = Vec::new();
            for member in std::mem::take(&mut edge) {
                let filter =
                    Filter::all(&[kind.clone(), Filter::equal(&spec.group_member_attribute, &member)]);
                for group in spec
                    .search(directory, base, &filter, &spec.group_name_attribute, GROUPS_MAX)
                    .await?
                {
                    let group = whole(group)?;
                    if seen.insert(group.dn.clone()) {
                        names.extend(group.values);
                        above.push(group.dn);
                    }
                    if seen.len() > GROUPS_MAX as usize {
                        return Err(Refused::Unclear(
                            "that person is in more groups than are followed",
                        ));
                    }
                }
            }
            edge = above;
        }
    }
    Ok(names.into_iter().collect())
}

/// What was found, if it is all of it: roles by a part of somebody's groups would be roles by chance.
fn whole(found: Found) -> Result<Found, Refused> {
    match !found.cut && (1..=DN_BYTES_MAX).contains(&found.dn.len()) {
        true => Ok(found),
        false => Err(Refused::Unclear(
            "the directory does not tell all groups of that person",
        )),
    }
}

impl LdapSpec {
    /// Below `base`, or for `most` of 0 the entry of that name alone.
    async fn search(
        &self,
        directory: &mut Connection,
        base: &str,
        filter: &Filter,
        attribute: &str,
        most: u32,
    ) -> Result<Vec<Found>, Trouble> {
        let what = Search {
            base,
            below: most > 0,
            filter,
            attribute,
            most: most.max(1),
            seconds: SEARCH_SECONDS,
        };
        directory.search(&what).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_somebodys_groups_is_none() {
        let found = |dn: &str, cut| Found {
            dn: dn.to_owned(),
            cut,
            ..Found::default()
        };
        let no = Some("the directory does not tell all groups of that person".to_owned());
        let table = [
            ("a whole one", found("cn=a", false), None),
            ("with more values than were sent", found("cn=a", true), no.clone()),
            ("more entries than were sent", found("", true), no.clone()),
            ("without a name", found("", false), no.clone()),
            (
                "whose name is not followed",
                found(&"x".repeat(DN_BYTES_MAX + 1), false),
                no,
            ),
        ];
        for (name, found, expected) in table {
            assert_eq!(
                whole(found).err().map(|refused| refused.why()),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn every_code_has_its_words_and_strangers_are_told_the_same_of_all() {
        for (code, why) in WHY {
            let refused = Refused::Wrong(code);
            assert_eq!(refused.to_string(), "the name or the password is wrong", "{code}");
            assert_eq!((refused.code(), refused.why()), (Some(code), why.to_owned()));
        }
        // Written in this crate, so that none is without words.
        let sources = [include_str!("ldap.rs"), include_str!("../identity.rs")].concat();
        for written in sources.split("Refused::Wrong(\"").skip(1) {
            let code = written.split('"').next().unwrap_or_default();
            assert!(WHY.iter().any(|(known, _)| *known == code), "{code}");
        }
    }
}
