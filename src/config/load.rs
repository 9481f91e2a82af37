//! From what an operator wrote to a configuration that was judged: file, then environment, then every check.
//!
//! Problems are collected over all stages and returned together, so that a configuration is mended in one go. The
//! environment is an argument: nothing here reads the process's own, which keeps the rules testable.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Config;
use super::check::{self, Origin, Problem};
use super::environment::{self, Variables};
use super::rules::{self, Judged};
use super::schema::{Shape, schema};
use super::tree::{self, Node, Place};

/// The file that is read when none is named and it exists.
const FILE_DEFAULT: &str = "stentor.toml";

/// What a configuration is made from.
#[derive(Clone)]
pub struct Source {
    /// The file, which must exist. Without one, `stentor.toml` in the working directory when there is one.
    pub path: Option<PathBuf>,
    /// The environment, which outweighs the file.
    pub environment: Vec<(String, String)>,
}

impl Source {
    /// The file that was named, if any, and the environment of this process.
    pub fn of_process(path: Option<PathBuf>) -> Self {
        let environment = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .collect();
        Self { path, environment }
    }
}

/// A configuration that may be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What to warn of at start.
    pub notes: Vec<String>,
    /// The file it came from, if there was one.
    pub file: Option<PathBuf>,
}

/// Loads a configuration. Without file, `JWT_SECRET` and `STENTOR__AUTH__…` it is the development configuration.
///
/// # Errors
/// Everything that is wrong, in the order of the file's lines and then of the variables' names.
pub fn load(source: &Source) -> Result<Loaded, Vec<Problem>> {
    let path = match &source.path {
        Some(path) => Some(path.as_path()),
        None => Some(Path::new(FILE_DEFAULT)).filter(|path| path.exists()),
    };
    let file = match path {
        Some(path) => Some(read(path).map_err(|problem| vec![problem])?),
        None => None,
    };
    assemble(file, &source.environment)
}

/// A file's name and its text.
type File = (Arc<Path>, String);

fn read(path: &Path) -> Result<File, Problem> {
    let file: Arc<Path> = path.into();
    let refusal = |message: String| Problem::at(&Place::whole(Origin::File(Arc::clone(&file))), "", message);
    let bytes = std::fs::read(path).map_err(|error| refusal(format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|error| refusal(format!("is not UTF-8 text, from byte {} on", error.utf8_error().valid_up_to())))?;
    // Editors on some systems begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    Ok((file, text))
}

pub(super) fn assemble(file: Option<File>, environment: &[(String, String)]) -> Result<Loaded, Vec<Problem>> {
    let schema = schema();
    let shape = Shape::of(&schema);
    let variables = Variables::new(environment);
    let whole = file.as_ref().map_or(Origin::Default, |(path, _)| Origin::File(Arc::clone(path)));
    let (mut root, syntax_problems) = match &file {
        Some((path, text)) => {
            let parsed = tree::parse_file(path, text);
            (parsed.root, parsed.problems)
        }
        None => (base(&variables), Vec::new()),
    };
    let mut problems: Vec<_> = environment::refuse_redis_table(&mut root).into_iter().collect();
    let overlaid = environment::overlay(&mut root, &variables, shape);
    problems.extend(overlaid.problems);
    problems.extend(check::check_tree(&mut root, shape));
    let config: Config = match serde_json::from_value(root.to_json()) {
        Ok(config) => config,
        Err(error) => {
            return Err(with_syntax(syntax_problems, problems, Some(Problem::new("", error.to_string()))));
        }
    };
    if syntax_problems.is_empty() {
        let variable = |name: &str| variables.get(name).map(str::to_owned);
        let judged = Judged { config: &config, tree: &root, whole, variable: &variable, earlier: &problems };
        let found = rules::judge(&judged);
        problems.extend(found);
    }
    if !(syntax_problems.is_empty() && problems.is_empty()) {
        return Err(with_syntax(syntax_problems, problems, None));
    }
    let mut notes = overlaid.notes;
    notes.extend(note_plain_server(&config, file.is_some()));
    notes.extend(note_any_audience(&config));
    let file = file.map(|(path, _)| path.to_path_buf());
    Ok(Loaded { config, notes, file })
}

/// What the environment is laid over when there is no file.
fn base(variables: &Variables<'_>) -> Node {
    let is_development = match variables.get("STENTOR__DEVELOPMENT") {
        Some(explicit) => explicit == "true",
        None => variables.get("JWT_SECRET").is_none() && !variables.names_section("auth"),
    };
    let place = Place::whole(Origin::Default);
    if !is_development {
        return Node::table(place);
    }
    let json = serde_json::to_value(Config::development()).unwrap_or_default();
    let mut root = Node::from_json(json, &place);
    // The origins follow the port, which the environment may still change.
    root.entries_mut().map(|entries| entries.remove("allowed_origins"));
    root
}

/// The problems of a file whose syntax is broken. What the parser made of a broken line is not the operator's doing, and
/// behind an open bracket nothing is where it belongs, so only what is surely wrong stays beside the syntax.
fn with_syntax(syntax: Vec<Problem>, mut others: Vec<Problem>, fallback: Option<Problem>) -> Vec<Problem> {
    let is_displaced =
        syntax.iter().any(|problem| ["unclosed", "table", "array"].iter().any(|word| problem.message.contains(word)));
    if !syntax.is_empty() {
        others.retain(|problem| {
            let is_of_file = matches!(problem.source, Origin::File(_));
            !is_of_file || (!is_displaced && syntax.iter().all(|broken| broken.line != problem.line))
        });
    }
    let mut problems = syntax;
    problems.extend(others);
    if problems.is_empty() {
        problems.extend(fallback);
    }
    check::sort(&mut problems);
    problems
}

fn note_plain_server(config: &Config, has_file: bool) -> Option<String> {
    let is_plain = !has_file && !config.development && config.rooms.is_empty() && config.plugins.is_empty();
    is_plain.then(|| {
        "rooms are open to any authenticated user and no plugin judges messages; \
         a stentor.toml with [[rooms]] and [[plugins]] changes that (stentor config print)"
            .to_owned()
    })
}

/// An issuer signs for many applications, and its tokens for the others are as well signed as ours.
fn note_any_audience(config: &Config) -> Option<String> {
    (config.auth.has_jwks() && config.auth.audiences.is_empty()).then(|| {
        "published keys are used without auth.audiences, so every token of that issuer is accepted, also one that was meant \
         for another application"
            .to_owned()
    })
}
