//! People of a real directory: Debian's `slapd`, started here with a tree, certificates and ports of its own.
//!
//! Without it, or without `openssl`, the test says so and passes, unless `COFFERDAM_REQUIRE_PEERS=1`.

use crate::common::Platform;
use crate::login::{cofferdam as command_line, run};
use cofferdam::identity::ldap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

const TREE: &str = "
dn: dc=example
objectClass: domain
dc: example

dn: cn=reader,dc=example
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: reads

dn: ou=people,dc=example
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example
objectClass: organizationalUnit
ou: groups

dn: ou=elsewhere,dc=example
objectClass: organizationalUnit
ou: elsewhere
";

/// Name, distinguished name, words more.
const PEOPLE: [(&str, &str, &str); 8] = [
    ("alice", "uid=alice,ou=people,dc=example", ""),
    ("bob", "uid=bob,ou=people,dc=example", ""),
    ("carol", "uid=carol,ou=people,dc=example", ""),
    (
        "dave",
        "uid=dave,ou=people,dc=example",
        "seeAlso: cn=leads,ou=groups,dc=example\n",
    ),
    ("double", "uid=double,ou=people,dc=example", ""),
    ("double", "cn=other,ou=people,dc=example", "cn: other\n"),
    ("two", "uid=two,ou=people,dc=example", "uid: too\n"),
    ("mallory", "uid=mallory,ou=elsewhere,dc=example", ""),
];

/// `all` holds `sre`, which holds alice; carol is in `all` alone, bob in none that counts.
const GROUPS: [(&str, &[&str]); 4] = [
    ("sre", &["uid=alice,ou=people,dc=example"]),
    (
        "all",
        &["cn=sre,ou=groups,dc=example", "uid=carol,ou=people,dc=example"],
    ),
    ("unknown", &["uid=bob,ou=people,dc=example"]),
    (
        "loop",
        &["cn=loop,ou=groups,dc=example", "uid=bob,ou=people,dc=example"],
    ),
];

struct Directory {
    child: Child,
    at: tempfile::TempDir,
    plain: u16,
    tls: u16,
}

fn sh(directory: &Path, program: &str, arguments: &[&str]) {
    let run = std::process::Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(
        run.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&run.stderr)
    );
}

async fn free_port() -> u16 {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    free.local_addr().unwrap().port()
}

fn ldif() -> String {
    let mut text = TREE.to_owned();
    for (name, dn, more) in PEOPLE {
        text += &format!("\ndn: {dn}\nobjectClass: account\nobjectClass: simpleSecurityObject\n");
        let more = more.replace("cn: other\n", "objectClass: extensibleObject\ncn: other\n");
        text += &format!("uid: {name}\n{more}userPassword: secret of {name}\n");
    }
    for (name, members) in GROUPS {
        text += &format!("\ndn: cn={name},ou=groups,dc=example\nobjectClass: groupOfNames\ncn: {name}\n");
        text += &members
            .iter()
            .map(|dn| format!("member: {dn}\n"))
            .collect::<String>();
    }
    text
}

impl Directory {
    async fn start() -> Option<Directory> {
        let there = |program: &str, argument: &str| {
            let run = std::process::Command::new(program).arg(argument).output();
            run.is_ok_and(|output| output.status.success())
        };
        if !there("/usr/sbin/slapd", "-VV") || !there("openssl", "version") {
            assert!(
                std::env::var_os("COFFERDAM_REQUIRE_PEERS").is_none(),
                "slapd or openssl is missing"
            );
            eprintln!("slapd or openssl is not installed: skipping");
            return None;
        }
        let at = tempfile::tempdir().unwrap();
        let here = at.path();
        for name in ["ca", "stranger"] {
            let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
            let subject = format!("/CN={name}");
            #[rustfmt::skip]
            sh(here, "openssl", &["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", &subject,
                "-addext", "basicConstraints=critical,CA:TRUE", "-keyout", &key, "-out", &pem]);
        }
        std::fs::write(here.join("names"), "subjectAltName=IP:127.0.0.1").unwrap();
        #[rustfmt::skip]
        sh(here, "openssl", &["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=ldap", "-keyout", "own.key", "-out", "own.csr"]);
        #[rustfmt::skip]
        sh(here, "openssl", &["x509", "-req", "-in", "own.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "2", "-extfile", "names", "-out", "own.pem"]);
        std::fs::create_dir(here.join("db")).unwrap();
        let schema = ["core", "cosine", "nis", "inetorgperson"]
            .map(|name| format!("include /etc/ldap/schema/{name}.schema\n"))
            .concat();
        let path = here.display();
        let config = format!(
            "{schema}modulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {path}/pid\n\
             TLSCACertificateFile {path}/ca.pem\nTLSCertificateFile {path}/own.pem\nTLSCertificateKeyFile {path}/own.key\n\
             database mdb\nsuffix dc=example\nrootdn cn=root,dc=example\nrootpw root\ndirectory {path}/db\n\
             access to attrs=userPassword by anonymous auth by * none\n\
             access to * by dn.exact=cn=reader,dc=example read by * none\n"
        );
        std::fs::write(here.join("slapd.conf"), config).unwrap();
        std::fs::write(here.join("tree.ldif"), ldif()).unwrap();
        std::fs::write(here.join("reader"), "reads\n").unwrap();
        sh(here, "chmod", &["600", "reader"]);
        sh(
            here,
            "/usr/sbin/slapadd",
            &["-f", "slapd.conf", "-l", "tree.ldif"],
        );
        let (plain, tls) = (free_port().await, free_port().await);
        let child = Directory::serve(here, plain, tls).await;
        Some(Directory {
            child,
            at,
            plain,
            tls,
        })
    }

    async fn serve(here: &Path, plain: u16, tls: u16) -> Child {
        let urls = format!("ldap://127.0.0.1:{plain}/ ldaps://127.0.0.1:{tls}/");
        let child = Command::new("/usr/sbin/slapd")
            .args(["-f", "slapd.conf", "-h", &urls, "-d", "0"])
            .current_dir(here)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        for _ in 0..600 {
            if tokio::net::TcpStream::connect(("127.0.0.1", tls)).await.is_ok() {
                return child;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("slapd does not listen");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.at.path().join(name)
    }

    /// A document for it, with what `change` says otherwise.
    fn spec(&self, change: &Value) -> Value {
        let mut ldap = json!({
            "url": format!("ldaps://127.0.0.1:{}", self.tls), "caFile": self.file("ca.pem"),
            "bind": {"dn": "cn=reader,dc=example", "secretRef": {"file": self.file("reader")}},
            "baseDn": "ou=people,dc=example", "userFilter": "(objectClass=account)",
            "groupBaseDn": "ou=groups,dc=example", "groupFilter": "(objectClass=groupOfNames)",
        });
        let change = change.as_object().unwrap().clone();
        ldap.as_object_mut().unwrap().extend(change);
        json!({"ldap": ldap, "roles": {"sre": ["operator@acme"], "all": ["viewer"], "leads": ["admin"], "cn=leads,ou=groups,dc=example": ["auditor"]}})
    }
}

async fn configure(platform: &Platform, spec: Value) {
    let document = json!({
        "apiVersion": "cofferdam.dev/v1", "kind": "IdentityProvider", "metadata": {"name": "staff"}, "spec": spec,
    });
    let applied = platform
        .post("/api/v1/documents", &json!({"documents": [document]}))
        .await;
    assert!(applied.status.is_success(), "{applied:?}");
}

/// Who came in with which roles, or the status and the reason.
async fn login(platform: &Platform, name: &str, password: &str) -> (String, Option<String>) {
    let body = json!({"provider": "staff", "name": name, "password": password});
    let body = Some(body.to_string().into_bytes());
    let answer = platform.send(Method::POST, "/api/v1/login", None, body).await;
    if answer.status != StatusCode::OK {
        let why = answer.body["detail"].as_str().unwrap();
        return (format!("{} {why}", answer.status.as_u16()), None);
    }
    let token = &answer.body["token"];
    let secret = answer.body["secret"].as_str().unwrap().to_owned();
    (
        format!("{} {}", token["principal"].as_str().unwrap(), token["roles"]),
        Some(secret),
    )
}

/// How many refusals are in the journal, and the code of the last one.
async fn recorded(platform: &Platform) -> (usize, String) {
    let entries = platform
        .get("/api/v1/audit/entries?kind=login.refused&limit=1000")
        .await
        .body;
    let entries = entries["entries"].as_array().unwrap();
    let code = entries
        .last()
        .map(|entry| entry["body"]["code"].as_str().unwrap().to_owned());
    (entries.len(), code.unwrap_or_default())
}

const WRONG: &str = "401 the name or the password is wrong";
const DOWN: &str = "503 the directory `staff` cannot be asked, so nobody new comes in";
const ALICE: &str = r#"person:staff/alice ["operator@acme","viewer"]"#;
const DAVE: &str = r#"person:staff/dave ["auditor"]"#;
const CAROL: &str = r#"person:staff/carol ["viewer"]"#;

#[tokio::test(flavor = "multi_thread")]
async fn people_of_a_real_directory_come_in_by_their_password_and_groups() {
    let Some(directory) = Directory::start().await else {
        return;
    };
    let platform = Platform::start_in(tempfile::tempdir().unwrap(), |_| {}).await;
    let long = "x".repeat(257);
    let plain = format!("ldap://127.0.0.1:{}", directory.plain);
    let keys = cofferdam::app::beside(&platform.data_dir(), "-keys").join("log.key");
    let own = json!({});
    #[rustfmt::skip]
    let table = [
        // what the row shows           the document              name               password             what comes of it, and is recorded
        ("the right password",          own.clone(),              "alice",           "secret of alice",   ALICE, ""),
        ("in another spelling",         own.clone(),              "ALICE",           "secret of alice",   ALICE, ""),
        ("nested groups",               own.clone(),              "carol",           "secret of carol",   CAROL, ""),
        ("groups by the person's own entry", json!({"groupBaseDn": null, "groupAttribute": "seeAlso"}), "dave", "secret of dave", DAVE, ""),
        ("over StartTLS",               json!({"url": plain, "startTls": true}), "carol", "secret of carol", CAROL, ""),
        ("on this machine",             json!({"url": plain, "caFile": null}), "carol", "secret of carol", CAROL, ""),
        ("a wrong password",            own.clone(),              "alice",           "secret of bob",     WRONG, "password_wrong"),
        ("an empty password",           own.clone(),              "alice",           "",                  WRONG, "password_empty"),
        ("nobody",                      own.clone(),              "nobody",          "secret of nobody",  WRONG, "person_unknown"),
        ("no name",                     own.clone(),              "",                "secret of alice",   WRONG, "no_name"),
        ("a filter as a name",          own.clone(),              "*)(uid=*",        "secret of alice",   WRONG, "no_name"),
        ("everybody as a name",         own.clone(),              "*",               "secret of alice",   WRONG, "no_name"),
        ("a name that is too long",     own.clone(),              &long,             "secret of alice",   WRONG, "no_name"),
        ("a space, which a directory drops", own.clone(),         "alice ",          "secret of alice",   WRONG, "no_name"),
        ("wide letters, which are the same", own.clone(),         "ａｌｉｃｅ",       "secret of alice",   WRONG, "no_name"),
        ("the platform's own file as a password", json!({"bind": {"dn": "cn=reader,dc=example", "secretRef": {"file": platform.data_dir().join("admin.token")}}}), "alice", "secret of alice", DOWN, ""),
        ("one of its keys",             json!({"bind": {"dn": "cn=reader,dc=example", "secretRef": {"file": keys}}}), "alice", "secret of alice", DOWN, ""),
        ("somebody outside the base",   own.clone(),              "mallory",         "secret of mallory", WRONG, "person_unknown"),
        ("somebody whom no filter has", json!({"userFilter": "(&(objectClass=account)(!(uid=carol)))"}), "carol", "secret of carol", WRONG, "person_unknown"),
        ("two people of one name",      own.clone(),              "double",          "secret of double",  WRONG,               "people_several"),
        ("one person of two names",     own.clone(),              "two",             "secret of two",     WRONG,               "name_unclear"),
        ("no group that counts",        own.clone(),              "bob",             "secret of bob",     "403 none of the groups that `bob` is in has a role here", "no_role"),
        ("an unknown authority",        json!({"caFile": directory.file("stranger.pem")}), "alice", "secret of alice", DOWN, ""),
        ("the machine's authorities",   json!({"caFile": null}),  "alice",           "secret of alice",   DOWN, ""),
        ("unknown over StartTLS",       json!({"url": plain, "startTls": true, "caFile": directory.file("stranger.pem")}), "alice", "secret of alice", DOWN, ""),
        ("nobody may search",           json!({"bind": null}),    "alice",           "secret of alice",   WRONG, "person_unknown"),
    ];
    for (row, change, name, password, expected, code) in table {
        configure(&platform, directory.spec(&change)).await;
        let before = recorded(&platform).await;
        let (came, _) = login(&platform, name, password).await;
        assert_eq!(came, expected, "{row}");
        let after = recorded(&platform).await;
        let expected = match code {
            "" => before,
            code => (before.0 + 1, code.to_owned()),
        };
        assert_eq!(after, expected, "{row}");
    }
    let localhost = format!("ldaps://localhost:{}", directory.tls);
    #[rustfmt::skip]
    let table = [
        (json!({"caFile": directory.file("stranger.pem")}),                           "invalid peer certificate: UnknownIssuer"),
        (json!({"url": plain, "startTls": true, "caFile": directory.file("stranger.pem")}), "invalid peer certificate: UnknownIssuer"),
        (json!({"url": localhost}),                                                   "certificate not valid for name \"localhost\""),
        (json!({"caFile": directory.file("none.pem")}),                               "caFile cannot be used: "),
        (json!({"caFile": directory.file("names")}),                                  "caFile cannot be used: it holds no certificate"),
        (json!({"baseDn": "ou=people,dc=elsewhere"}),                                 "the name or the password is wrong"),
        (json!({"bind": {"dn": "cn=reader,dc=example", "secretRef": {"file": directory.file("ca.key")}}}), "it refuses the bind of `bind.dn` (code 49)"),
        (json!({"bind": {"dn": "cn=reader,dc=example", "secretRef": {"file": directory.file("names")}}}),  "can be read by others; set its mode to 0600"),
    ];
    for (change, why) in table {
        let spec = serde_json::from_value(directory.spec(&change)["ldap"].clone()).unwrap();
        let password = secrets::Secret::new(b"secret of alice".to_vec());
        let refused = ldap::authenticate(&spec, "alice", &password, &[])
            .await
            .unwrap_err();
        assert!(refused.to_string().contains(why), "{change}: {refused}");
    }
    // What is typed is a value for the directory too.
    let spec = serde_json::from_value(directory.spec(&json!({}))["ldap"].clone()).unwrap();
    for name in ["*)(uid=*", "*"] {
        let password = secrets::Secret::new(b"secret of alice".to_vec());
        let refused = ldap::authenticate(&spec, name, &password, &[]).await.unwrap_err();
        assert_eq!(refused.code(), Some("person_unknown"), "{name}");
    }
    // What was typed is in no entry.
    let journal = platform
        .get("/api/v1/audit/entries?limit=1000")
        .await
        .body
        .to_string();
    assert!(
        !journal.contains("secret of") && !journal.contains("nobody\""),
        "{journal}"
    );
    stays_until_it_ends(platform, directory).await;
}

/// The directory forgets somebody, or is down: who is in stays in until their token ends, and nobody new comes.
async fn stays_until_it_ends(platform: Platform, mut directory: Directory) {
    configure(&platform, directory.spec(&json!({"tokenHours": 1}))).await;
    let (_, token) = login(&platform, "carol", "secret of carol").await;
    let token = token.unwrap();
    directory.child.kill().await.unwrap();
    assert_eq!(login(&platform, "alice", "secret of alice").await.0, DOWN);
    sh(directory.at.path(), "rm", &["-r", "db"]);
    std::fs::create_dir(directory.file("db")).unwrap();
    let gone = ldif()
        .replace("uid=carol,ou=people", "uid=caroline,ou=people")
        .replace("uid: carol", "uid: caroline");
    std::fs::write(directory.file("tree.ldif"), gone).unwrap();
    sh(
        directory.at.path(),
        "/usr/sbin/slapadd",
        &["-f", "slapd.conf", "-l", "tree.ldif"],
    );
    directory.child = Directory::serve(directory.at.path(), directory.plain, directory.tls).await;
    assert_eq!(login(&platform, "carol", "secret of carol").await.0, WRONG);
    let whoami = async || {
        platform
            .send(Method::GET, "/api/v1/whoami", Some(&token), None)
            .await
    };
    let me = whoami().await;
    assert_eq!(me.body["principal"], "person:staff/carol", "{me:?}");
    let path = format!("/api/v1/tokens/{}", me.body["token"].as_str().unwrap());
    platform
        .send(Method::DELETE, &path, Some(&platform.admin), None)
        .await;
    assert_eq!(whoami().await.status, StatusCode::UNAUTHORIZED);

    by_the_command_line(&platform).await;

    // Guesses are few.
    for _ in 0..4 {
        assert_eq!(login(&platform, "bob", "guess").await.0, WRONG);
    }
    assert_eq!(login(&platform, "Bob", "guess").await.0, WRONG);
    let (refused, _) = login(&platform, "bob", "secret of bob").await;
    assert!(
        refused.starts_with("429 too many logins failed under this name"),
        "{refused}"
    );
    platform.stop().await;
}

async fn by_the_command_line(platform: &Platform) {
    let home = tempfile::tempdir().unwrap();
    let typed = async |arguments: &[&str], input: &str| {
        let mut command = command_line(platform, home.path(), arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let alice = ["login", "--user", "alice", "--password-stdin"];
    let (code, _, said) = typed(&alice, "guess\n").await;
    assert_eq!(
        (code, said.as_str()),
        (1, "error: Unauthorized: the name or the password is wrong\n")
    );
    let (code, _, said) = typed(&["login", "--user", "alice"], "secret of alice\n").await;
    let terminal = "error: there is no terminal to ask for the password: use --user and --password-stdin\n";
    assert_eq!((code, said.as_str()), (2, terminal));
    let (code, out, said) = typed(&alice, "secret of alice\n").await;
    assert!(
        code == 0 && out.starts_with("logged in as person:staff/alice until "),
        "{out} {said}"
    );
    let ran = async |arguments: &[&str]| run(command_line(platform, home.path(), arguments)).await;
    let (_, out, _) = ran(&["whoami"]).await;
    assert!(out.starts_with("person:staff/alice"), "{out}");
    let (code, out, said) = ran(&["logout"]).await;
    assert!(code == 0 && out.starts_with("logged out; "), "{out} {said}");
}
