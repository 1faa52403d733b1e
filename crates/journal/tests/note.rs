//! Signed notes.
use journal::note::{Signer, Verifier};
#[test]
fn golden() {
    let v = Verifier::parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k").unwrap();
    let note = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
    assert_eq!(v.open(note), Ok("This is an example message.\n"));
    let s = Signer::from_seed("a", &[1; 32]).unwrap();
    let n = s.sign("x\n\ny\n").unwrap();
    assert_eq!(
        Verifier::parse(&s.verifier().to_vkey()).unwrap().open(&n),
        Ok("x\n\ny\n")
    );
    let e = journal::Entry {
        v: 1,
        log: "l".into(),
        sequence: 3,
        timestamp: policy::Timestamp::from_ms(5),
        kind: "a.b".into(),
        session: None,
        actor: "é\u{1}\"".into(),
        cause: None,
        correlation: None,
        body: serde_json::json!({"z":1.5,"a":[null,true,-3]}),
        commitments: vec![],
        projections: [("p".to_string(), "q".to_string())].into(),
    };
    let leaf = e.to_leaf().unwrap();
    println!("{}", String::from_utf8_lossy(&leaf));
    assert_eq!(journal::Entry::from_leaf(&leaf).unwrap(), e);
}
