//! Which container a run is in: what its agent's document says, what whoever runs it says, and the image that is meant.

use super::Wanted;
use runtime::agent::GuestTerms;
use sandbox::container::Image;
use sandbox::{Choice, Container, EngineKind, Spec};

/// Variables that a guest is given by default, and an image may know better.
const IMAGE_KNOWS: [&str; 2] = ["PATH", "LANG"];

/// What is wanted: an engine, if one is named, and an image. `None` for a process. What a document says is what counts;
/// whoever runs it may say the same.
pub(super) fn wanted(
    wanted: &Wanted,
    terms: Option<&GuestTerms>,
) -> Result<Option<(Option<EngineKind>, String)>, String> {
    let fixed = terms.and_then(|terms| terms.backend);
    let fixed_image = terms.and_then(|terms| terms.image.as_deref());
    let backend = match (fixed, wanted.backend) {
        (Some(fixed), Some(said)) if fixed != said => {
            return Err(format!(
                "the agent's document says `backend: {fixed}`, not {said}"
            ));
        }
        (fixed, said) => fixed.or(said),
    };
    let image = match (fixed_image, wanted.image.as_deref()) {
        (Some(fixed), Some(said)) if fixed != said => {
            return Err(format!("the agent's document says `image: {fixed}`, not {said}"));
        }
        (fixed, said) => fixed.or(said),
    };
    match (backend, image) {
        // An image says what is meant.
        (None, Some(image)) => Ok(Some((None, image.to_owned()))),
        (None | Some(Choice::Process), None) => Ok(None),
        (Some(Choice::Process), Some(_)) => {
            Err("a process has no image; name --backend container".to_owned())
        }
        (Some(Choice::Container(engine)), Some(image)) => Ok(Some((engine, image.to_owned()))),
        (Some(Choice::Container(_)), None) => {
            Err("a container has an image: name it with --image, or in the agent's document".to_owned())
        }
    }
}

/// Puts a spec into a container. Its program finds the variables of the image, but for those that it is given here.
pub(super) fn put(spec: &mut Spec, wanted: &Wanted, container: Container, image: &Image) {
    for (name, value) in image.env.iter().filter_map(|one| one.split_once('=')) {
        let is_open = !spec.env.contains_key(name) || IMAGE_KNOWS.contains(&name);
        if is_open && !wanted.env.contains_key(name) && !name.is_empty() {
            spec.env.insert(name.to_owned(), value.to_owned());
        }
    }
    spec.container = Some(container);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(backend: Option<&str>, image: Option<&str>) -> Wanted {
        let text = serde_json::json!({
            "agent": null, "argv": ["true"], "env": { "MINE": "1" }, "workspace": "/w", "allow": [], "networks": [],
            "learn": null, "review": false, "reads": [], "git": "read", "profile": "standard", "timeout_ms": null,
            "memory_bytes": null, "degrade": [], "backend": backend, "image": image,
        });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn the_document_counts_and_an_image_says_what_is_meant() {
        let terms = |text: &str| -> Option<GuestTerms> { serde_json::from_str(text).ok() };
        let (none, fixed) = ("{}", r#"{"backend": "container:podman", "image": "a@sha256:1"}"#);
        #[rustfmt::skip]
        let table = [
            // document              --backend                 --image             what is wanted, or why not
            (none,                   None,                     None,               "a process"),
            (none,                   Some("process"),          None,               "a process"),
            (none,                   Some("container"),        Some("b"),          "None b"),
            (none,                   Some("container:docker"), Some("b"),          "Some(Docker) b"),
            (none,                   None,                     Some("b"),          "None b"),
            (none,                   Some("container"),        None,               "a container has an image: name it with --image, or in the agent's document"),
            (none,                   Some("process"),          Some("b"),          "a process has no image; name --backend container"),
            (fixed,                  None,                     None,               "Some(Podman) a@sha256:1"),
            (fixed,                  Some("container:podman"), Some("a@sha256:1"), "Some(Podman) a@sha256:1"),
            (fixed,                  Some("process"),          None,               "the agent's document says `backend: container:podman`, not process"),
            (fixed,                  None,                     Some("b"),          "the agent's document says `image: a@sha256:1`, not b"),
            (r#"{"backend": "process"}"#, Some("container"),   Some("b"),          "the agent's document says `backend: process`, not container"),
        ];
        for (document, backend, image, expected) in table {
            let found = match wanted(&asks(backend, image), terms(document).as_ref()) {
                Ok(None) => "a process".to_owned(),
                Ok(Some((engine, image))) => format!("{engine:?} {image}"),
                Err(why) => why,
            };
            assert_eq!(found, expected, "{document} {backend:?} {image:?}");
        }
    }

    #[test]
    fn an_image_brings_variables_and_takes_none_away() {
        let mut spec = Spec::new(vec!["true".to_owned()], "/w".into());
        spec.env
            .insert("HTTPS_PROXY".to_owned(), "http://127.0.0.1:7401".to_owned());
        spec.env.insert("MINE".to_owned(), "1".to_owned());
        let env = [
            "PATH=/opt/bin",
            "HTTPS_PROXY=http://evil",
            "HOME=/root",
            "MINE=2",
            "APP=x=y",
            "odd",
        ];
        let image = Image {
            id: "sha256:1".to_owned(),
            digests: vec![],
            env: env.map(str::to_owned).into(),
        };
        let container = Container {
            engine: None,
            image: "b".to_owned(),
            id: image.id.clone(),
        };
        put(&mut spec, &asks(None, Some("b")), container, &image);
        let found = |name: &str| spec.env[name].as_str();
        assert_eq!(
            (found("PATH"), found("HTTPS_PROXY")),
            ("/opt/bin", "http://127.0.0.1:7401")
        );
        assert_eq!(
            (found("HOME"), found("MINE"), found("APP")),
            ("/home/guest", "1", "x=y")
        );
        assert!(!spec.env.contains_key("odd"));
    }
}
