//! What tests run inside: one attack by name, which says `done` or what stopped it. And the zygote of tests.

fn main() -> std::process::ExitCode {
    if std::env::args().nth(1).as_deref() == Some(sandbox::ARGUMENT) {
        return sandbox::entry();
    }
    std::process::ExitCode::SUCCESS
}
