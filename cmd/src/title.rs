//! Keeps the token out of the process title.
//!
//! The arguments of a process can be read by every user of the machine (`ps`), its environment only by its owner. A
//! process cannot change its arguments safely, but it can start again with others: same process id, same files, before
//! anything has been started.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt,
    process::Command,
};

use crate::token_source::{FIRST_VARIABLE, Masked};

/// Starts the program again with the token in its environment, if it was given as an argument. Where the system does not
/// let it, the token stays visible; a token file is the better way in any case.
pub(crate) fn hide_token(token: Option<&Masked>) {
    // An empty one hides nothing, and an empty variable would say nothing.
    let token = token.filter(|token| !token.expose().is_empty());
    let (Some(token), Ok(program)) = (token, env::current_exe()) else { return };
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_else(|| program.clone().into());
    // It returns only if it failed.
    let _error =
        Command::new(program).arg0(name).args(without_token(arguments)).env(FIRST_VARIABLE, token.expose()).exec();
}

/// The flag, and what LocalAI calls it (`federated`).
const FLAGS: [&str; 3] = ["--token", "--p2p-token", "--p2ptoken"];

/// The arguments but `--token TOKEN` and `--token=TOKEN`, by any of its names; behind `--` there are no flags.
fn without_token(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments = arguments.into_iter();
    let mut rest = Vec::new();
    while let Some(argument) = arguments.next() {
        if FLAGS.iter().any(|flag| argument == *flag) {
            arguments.next();
        } else if argument == "--" {
            rest.push(argument);
            rest.extend(arguments.by_ref());
        } else if !is_assignment(&argument) {
            rest.push(argument);
        }
    }
    rest
}

fn is_assignment(argument: &OsStr) -> bool {
    let is_of = |flag: &&str| {
        argument.as_encoded_bytes().strip_prefix(flag.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
    };
    FLAGS.iter().any(is_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_token_goes() {
        let rest = |text: &str| {
            let rest = without_token(text.split(' ').map(OsString::from));
            rest.join(OsStr::new(" ")).into_string().unwrap()
        };
        assert_eq!(rest("serve --token abc --name x llm"), "serve --name x llm");
        assert_eq!(rest("serve --token=abc llm"), "serve llm");
        assert_eq!(rest("serve --token-file abc"), "serve --token-file abc");
        assert_eq!(rest("federated --p2p-token abc --debug"), "federated --debug");
        assert_eq!(rest("federated --p2ptoken=abc --debug"), "federated --debug");
        assert_eq!(rest("--token abc serve -- --token x"), "serve -- --token x");
    }
}
