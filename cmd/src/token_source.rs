//! Where the token comes from.
//!
//! `--token-file`, `--token`, the environment, the configuration, the default file: the first that says something
//! decides, and if what it says is no token, the next is not asked.

use std::{
    env, fmt,
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::Args;
use p2p_fed::token::Token;
use zeroize::Zeroizing;

use crate::exit::Failure;

/// The variable that is ours, and asked first.
pub(crate) const FIRST_VARIABLE: &str = "P2P_FED_TOKEN";

/// Every variable that is asked, in this order: ours, then those of LocalAI and edgevpn.
pub(crate) const VARIABLES: [&str; 6] =
    [FIRST_VARIABLE, "P2P_TOKEN", "TOKEN", "LOCALAI_P2P_TOKEN", "LOCALAI_TOKEN", "EDGEVPNTOKEN"];

/// Bytes of a token file at most: a token has less than one in a hundred of it, and a mistaken path may lead to anything.
const MAX_FILE: u64 = 64 * 1024;

/// Permission bits of other users.
const OTHERS: u32 = 0o077;

/// How a token is given.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct TokenFlags {
    /// File with the token, `-` for standard input
    #[arg(long, value_name = "PATH", help_heading = "Token")]
    pub(crate) token_file: Option<PathBuf>,

    /// The token itself; other users may see it for a moment, so prefer a file
    #[arg(long, value_name = "TOKEN", help_heading = "Token")]
    pub(crate) token: Option<Masked>,
}

/// A text that is not shown.
#[derive(Clone)]
pub(crate) struct Masked(Zeroizing<String>);

impl Masked {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Masked {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl fmt::Debug for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The token that the first of all sources gives. `configured` is the file that the configuration names.
///
/// # Errors
/// None gives one, or what it gives is no token.
pub(crate) fn find(flags: &TokenFlags, configured: Option<&Path>) -> Result<Token, Failure> {
    if let Some(path) = &flags.token_file {
        return from_file(path);
    }
    if let Some(text) = &flags.token {
        return parse(text.expose(), "--token");
    }
    for variable in VARIABLES {
        // A variable that is empty says nothing, as elsewhere in a shell.
        if let Some(value) = env::var_os(variable).filter(|value| !value.is_empty()) {
            let text = value.into_string().map(Zeroizing::new);
            let text = text.map_err(|_| Failure::usage(format_args!("the variable {variable} holds no text")))?;
            // Ours is also how `--token` arrives: the process started again with it (`title`).
            let origin = if variable == FIRST_VARIABLE { "--token or P2P_FED_TOKEN" } else { variable };
            return parse(&text, origin);
        }
    }
    if let Some(path) = configured {
        return from_file(path);
    }
    match default_file() {
        Some(path) if path.exists() => from_file(&path),
        _ => Err(Failure::usage(
            "no token: make one with `p2p-fed token > token && chmod 600 token` and pass --token-file token",
        )),
    }
}

/// Where [`find`] finds it, for people.
pub(crate) fn origin(flags: &TokenFlags, configured: Option<&Path>) -> String {
    let is_said = |variable: &&&str| env::var_os(variable).is_some_and(|value| !value.is_empty());
    let file = |path: &Path| format!("the file {}", path.display());
    match (&flags.token_file, &flags.token, VARIABLES.iter().find(is_said), configured) {
        (Some(path), ..) => file(path),
        (_, Some(_), ..) => "--token".to_owned(),
        (_, _, Some(variable), _) => format!("the variable {variable}"),
        (.., Some(path)) => file(path),
        _ => default_file().map_or_else(|| "nowhere".to_owned(), |path| file(&path)),
    }
}

/// The token in a file, or on standard input for `-`.
///
/// # Errors
/// It can't be read, or holds no token.
pub(crate) fn from_file(path: &Path) -> Result<Token, Failure> {
    if path == Path::new("-") {
        return from_stdin();
    }
    let read = || -> io::Result<_> {
        let file = File::open(path)?;
        warn_if_exposed(path, &file)?;
        take(file)
    };
    let text = read()
        .map_err(|error| Failure::usage(format_args!("cannot read the token file {}: {error}", path.display())))?;
    parse(&text, &path.display().to_string())
}

/// The token on standard input.
///
/// # Errors
/// It can't be read, or is no token.
pub(crate) fn from_stdin() -> Result<Token, Failure> {
    let text = take(io::stdin().lock());
    let text =
        text.map_err(|error| Failure::usage(format_args!("cannot read the token from standard input: {error}")))?;
    parse(&text, "standard input")
}

/// Understands a token; `origin` says in the error where it was.
///
/// # Errors
/// It is none.
pub(crate) fn parse(text: &str, origin: &str) -> Result<Token, Failure> {
    Token::parse(text).map_err(|error| Failure::usage(format_args!("{origin}: {error}")))
}

fn take(source: impl Read) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    source.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// Only a file can be exposed; a pipe (`<(…)`) is gone before anybody looks.
fn warn_if_exposed(path: &Path, file: &File) -> io::Result<()> {
    let there = file.metadata()?;
    if there.is_file() && there.mode() & OTHERS != 0 {
        let (file, mode) = (path.display(), format!("{:04o}", there.mode() & 0o7777));
        tracing::warn!(%file, mode, cure = format!("chmod 600 {file}"), "token file is open to other users");
    }
    Ok(())
}

/// `$XDG_CONFIG_HOME/p2p-fed/NAME`, or `~/.config/p2p-fed/NAME`. Relative paths in the variables are to be ignored (XDG Base
/// Directory Specification).
pub(crate) fn in_config_folder(name: &str) -> Option<PathBuf> {
    let absolute = |variable: &str| env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    Some(folder.join("p2p-fed").join(name))
}

fn default_file() -> Option<PathBuf> {
    in_config_folder("token")
}
