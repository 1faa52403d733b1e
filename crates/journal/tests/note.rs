//! Signed notes and checkpoints: what is accepted, what is refused, and with which words.

use journal::checkpoint::Checkpoint;
use journal::note::{NoteError, SIGNATURES_MAX, Signer, Verifier};
use proptest::prelude::*;

/// The example of the C2SP signed-note specification.
const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const NOTE: &str = "This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
";

#[test]
fn the_example_of_the_specification_is_accepted() {
    let verifier = Verifier::parse(VKEY).unwrap();
    assert_eq!(verifier.open(NOTE), Ok("This is an example message.\n"));
    assert_eq!(verifier.to_vkey(), VKEY);
    assert_eq!(verifier.name(), "example.com/foo");
}

/// The example of the Go documentation (golang.org/x/mod/sumdb/note), with its encoded signer key
/// `PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz`.
#[test]
fn we_sign_what_go_signs() {
    use base64::Engine as _;
    let seed =
        base64::engine::general_purpose::STANDARD.decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz");
    let (_algorithm, seed) = seed.as_deref().unwrap().split_first().unwrap();
    let signer = Signer::from_seed("PeterNeumann", seed.try_into().unwrap()).unwrap();
    let vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    assert_eq!(signer.verifier().to_vkey(), vkey);
    let text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    let signed = "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    assert_eq!(signer.sign(text).unwrap(), format!("{text}{signed}"));
}

#[test]
fn notes() {
    let line = NOTE.lines().last().unwrap();
    let other = Signer::from_seed("example.com/foo", &[1; 32])
        .unwrap()
        .sign("This is an example message.\n")
        .unwrap();
    let other = other.lines().last().unwrap();
    let with = |lines: &[&str]| format!("This is an example message.\n\n{}\n", lines.join("\n"));
    let malformed = |what: &str| Err(NoteError::Malformed(what.to_owned()));
    let odd_line = "a signature line is not `— NAME BASE64`";
    let invalid = || Err(NoteError::Invalid("example.com/foo".to_owned()));
    let text = "This is an example message.\n";
    #[rustfmt::skip]
    let table = [
        // what the row shows                        note                                        expected
        ("signatures of unknown keys are ignored",   with(&[other, line, "— b AAAAAAE="]),       Ok(text)),
        ("only unknown keys",                        with(&[other]),                             Err(NoteError::Unsigned("example.com/foo".to_owned()))),
        ("another text",                             NOTE.replace("example m", "Example m"),     invalid()),
        ("a good and a bad signature by the key",    with(&[line, &line.replace("AlT", "AlU")]), invalid()),
        ("a signature too short",                    with(&["— example.com/foo Uw2QOgE="]),      invalid()),
        ("as many signatures as allowed",            with(&[vec![other; SIGNATURES_MAX - 1], vec![line]].concat()), Ok(text)),
        ("one signature more",                       with(&[other; SIGNATURES_MAX + 1]),         malformed("more than 100 signatures")),
        ("no blank line",                            "text\n".to_owned(),                        malformed("no blank line")),
        ("no signature",                             "text\n\n".to_owned(),                      malformed("no signature")),
        ("an empty line after the signatures",        format!("{NOTE}\n"),                       malformed("no signature")),
        ("last line not ended",                      NOTE.trim_end().to_owned(),                 malformed("last line is not ended")),
        ("a hyphen for the dash",                    NOTE.replace('—', "-"),                     malformed(odd_line)),
        ("no name",                                  with(&["—  AAAAAAE="]),                     malformed("key name `` is empty or has a space or a plus")),
        ("a plus in a name",                         with(&["— a+b AAAAAAE="]),                  malformed("key name `a+b` is empty or has a space or a plus")),
        ("no base64",                                with(&["— a A*A="]),                        malformed(odd_line)),
        ("no signature after the key id",            with(&["— a AAAAAA=="]),                    malformed(odd_line)),
        ("carriage returns",                         NOTE.replace('\n', "\r\n"),                 malformed("has a control character")),
        ("a tab in the text",                        NOTE.replace("an ", "an\t"),                malformed("has a control character")),
        ("a megabyte and more",                      "a".repeat(1024 * 1024 + 1),                malformed("larger than 1048576 bytes")),
    ];
    let verifier = Verifier::parse(VKEY).unwrap();
    for (name, note, expected) in table {
        assert_eq!(verifier.open(&note), expected, "{name}");
    }
}

#[test]
fn verifier_keys() {
    #[rustfmt::skip]
    let table = [
        // what the row shows     vkey                                                                       complaint
        ("not three parts",       "example.com/foo+530d903a",                                                "is not `NAME+HASH+BASE64`"),
        ("no name",               "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",                  "is empty or has a space or a plus"),
        ("a space in the name",   "a b+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",               "is empty or has a space or a plus"),
        ("no base64",             "a+530d903a+A*",                                                           "is not base64"),
        ("another algorithm",     "a+530d903a+BOkyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",                 "is not of type Ed25519"),
        ("a short key",           "a+530d903a+AekyeRrm56hA",                                                 "does not have 32 bytes"),
        ("no point of the curve", "a+530d903a+AQIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",                 "is not a point of the curve"),
        ("another hash",          "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",   "has another hash than it says"),
        ("a hash in capitals",    "example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",   "has another hash than it says"),
        ("another name",          "example.com/fob+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",   "has another hash than it says"),
    ];
    for (name, vkey, complaint) in table {
        let error = Verifier::parse(vkey).unwrap_err().to_string();
        assert!(error.ends_with(complaint), "{name}: {error}");
    }
}

#[test]
fn a_key_of_small_order_vouches_for_nothing() {
    // The identity as public key: a plain verification accepts R = identity, s = 0 for every text.
    let identity = [[1].as_slice(), &[0; 31]].concat();
    let hash = {
        use sha2::{Digest, Sha256};
        Sha256::digest([b"a\n\x01", identity.as_slice()].concat())
    };
    let encode = |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
    let id = policy::canonical::hex(&hash[..4]);
    let vkey = format!("a+{id}+{}", encode(&[[1].as_slice(), &identity].concat()));
    let signature = [&hash[..4], identity.as_slice(), &[0; 32]].concat();
    let note = format!("any text\n\n— a {}\n", encode(&signature));
    let verifier = Verifier::parse(&vkey).unwrap();
    assert_eq!(verifier.open(&note), Err(NoteError::Invalid("a".to_owned())));
}

#[test]
fn what_cannot_be_signed() {
    let signer = Signer::from_seed("a", &[1; 32]).unwrap();
    assert_eq!(
        signer.sign("text").unwrap_err().to_string(),
        "not a signed note: text does not end in a newline"
    );
    assert_eq!(
        signer.sign("a\tb\n").unwrap_err().to_string(),
        "not a signed note: has a control character"
    );
    assert!(Signer::from_seed("a b", &[1; 32]).is_err());
    assert!(Signer::from_seed("a\u{2003}b", &[1; 32]).is_err());
    assert!(Signer::from_seed("", &[1; 32]).is_err());
    let foreign = Checkpoint {
        origin: "b".to_owned(),
        size: 0,
        root: [0; 32],
    };
    assert_eq!(
        foreign.sign(&signer).unwrap_err().to_string(),
        "not a signed note: checkpoint is of log `b`, the key is of `a`"
    );
}

#[test]
fn checkpoints() {
    // The example of the C2SP tlog-checkpoint specification.
    let golden = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let checkpoint = Checkpoint::parse(golden).unwrap();
    assert_eq!(
        (checkpoint.origin.as_str(), checkpoint.size),
        ("example.com/behind-the-sofa", 20_852_163)
    );
    assert_eq!(checkpoint.to_text(), golden);
    assert_eq!(
        Checkpoint::parse(&format!("{golden}an extension\n")).as_ref(),
        Ok(&checkpoint)
    );

    let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
    #[rustfmt::skip]
    let table = [
        // what the row shows       text                                          complaint
        ("not ended",               format!("a\n5\n{root}"),                      "does not end in a newline"),
        ("too short",               "a\n5\n".to_owned(),                          "has fewer than three lines"),
        ("no origin",               format!("\n5\n{root}\n"),                     "has an empty line"),
        ("an empty extension",      format!("a\n5\n{root}\n\n"),                  "has an empty line"),
        ("a leading zero",          format!("a\n05\n{root}\n"),                   "has a second line that is not a size"),
        ("a sign",                  format!("a\n+5\n{root}\n"),                   "has a second line that is not a size"),
        ("a size beyond 64 bits",   format!("a\n18446744073709551616\n{root}\n"), "has a second line that is not a size"),
        ("a short root",            "a\n5\nCsUYag==\n".to_owned(),                "has a third line that is not a hash in base64"),
        ("a root without padding",  format!("a\n5\n{}\n", root.trim_end_matches('=')), "has a third line that is not a hash in base64"),
        ("a root with loose bits",  format!("a\n5\n{}\n", root.replace("I=", "J=")),   "has a third line that is not a hash in base64"),
    ];
    for (name, text, complaint) in table {
        assert_eq!(
            Checkpoint::parse(&text).unwrap_err().to_string(),
            format!("not a signed note: checkpoint {complaint}"),
            "{name}"
        );
    }
}

#[test]
fn a_checkpoint_belongs_to_its_key() {
    let signer = Signer::from_seed("log.example", &[2; 32]).unwrap();
    let checkpoint = Checkpoint {
        origin: "log.example".to_owned(),
        size: 3,
        root: [9; 32],
    };
    let note = checkpoint.sign(&signer).unwrap();
    assert_eq!(Checkpoint::open(&note, &signer.verifier()), Ok(checkpoint));
    let other = Signer::from_seed("log.example", &[3; 32]).unwrap().verifier();
    assert_eq!(
        Checkpoint::open(&note, &other),
        Err(NoteError::Unsigned("log.example".to_owned()))
    );
    // Signed by the key, as any text may be, but about another log.
    let foreign = signer
        .sign("other.example\n0\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n")
        .unwrap();
    assert_eq!(
        Checkpoint::open(&foreign, &signer.verifier())
            .unwrap_err()
            .to_string(),
        "not a signed note: checkpoint is of log `other.example`, the key is of `log.example`"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_signed_opens(text in "[^\\x00-\\x1f]{0,40}(\n[^\\x00-\\x1f]{0,10}){0,5}", seed: [u8; 32]) {
        let signer = Signer::from_seed("log", &seed).unwrap();
        let text = text + "\n";
        let note = signer.sign(&text).unwrap();
        prop_assert_eq!(signer.verifier().open(&note), Ok(text.as_str()));
    }

    #[test]
    fn no_changed_byte_is_accepted(at: prop::sample::Index, bit in 0..7u8) {
        let mut bytes = NOTE.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(note) = std::str::from_utf8(&bytes) {
            prop_assert!(Verifier::parse(VKEY).unwrap().open(note).is_err(), "{note}");
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(?s).{0,300}|[a\n— +=A-Za-z0-9]{0,300}") {
        let _ = Verifier::parse(&text);
        let _ = Verifier::parse(VKEY).unwrap().open(&text);
        if let Ok(checkpoint) = Checkpoint::parse(&text) {
            prop_assert!(text.starts_with(&checkpoint.to_text()));
        }
    }
}
