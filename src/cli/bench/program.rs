//! Which binary is the server: this very one, or another build, to be compared with it or with a third. Another build may
//! be older than a configuration key of ours: its own schema tells. Knows nothing of how a server is run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::BenchError;

/// Prints the JSON Schema of a build's configuration.
const SCHEMA: [&str; 2] = ["config", "schema"];
/// The key that decides where the store is.
const DURABILITY: &str = "\"durability\"";
/// The key that lets input wait.
const INPUT_GATHER: &str = "\"input_gather_us\"";
/// Bytes of what a binary says that are shown when it is none of ours.
const SAID_BYTES_MAX: usize = 400;

/// A build of the server.
#[derive(Clone, Debug)]
pub(super) struct Program {
    path: Option<PathBuf>,
    has_durability: bool,
    has_input_gather: bool,
}

impl Program {
    /// This very binary.
    pub(super) fn own() -> Self {
        Self { path: None, has_durability: true, has_input_gather: true }
    }

    /// Another one. It is asked what it can be told.
    pub(super) fn at(path: &Path) -> Result<Self, BenchError> {
        let problem = |what: String| BenchError::Usage(format!("--server {}: {what}", path.display()));
        // The child runs elsewhere than we are, perhaps.
        let path_whole = path.canonicalize().map_err(|error| problem(error.to_string()))?;
        let said = Command::new(&path_whole)
            .args(SCHEMA)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| problem(error.to_string()))?;
        let schema = String::from_utf8_lossy(&said.stdout);
        if !said.status.success() || !schema.trim_start().starts_with('{') {
            let complaint = String::from_utf8_lossy(&said.stderr);
            let complaint: String = complaint.trim().chars().take(SAID_BYTES_MAX).collect();
            return Err(problem(format!("no server of ours: `config schema` ended with {}: {complaint}", said.status)));
        }
        let (has_durability, has_input_gather) = (schema.contains(DURABILITY), schema.contains(INPUT_GATHER));
        Ok(Self { path: Some(path_whole), has_durability, has_input_gather })
    }

    /// Where it is, if it is another one.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What it is called in reports, if it is another one.
    pub(super) fn name(&self) -> Option<String> {
        self.path().map(|path| path.display().to_string())
    }

    /// Whether it can be told to keep its store on disk or in memory. One that cannot keeps it in memory.
    pub(super) fn has_durability(&self) -> bool {
        self.has_durability
    }

    /// Whether it can be told how long input waits. One that cannot never lets it wait.
    pub(super) fn has_input_gather(&self) -> bool {
        self.has_input_gather
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_server_is_said_before_anything_runs() {
        for (path, complaint) in [("/dev/null/stentor", "Not a directory"), ("/bin/true", "no server of ours")] {
            let refused = Program::at(Path::new(path)).expect_err("no server");
            assert!(matches!(&refused, BenchError::Usage(_)), "{refused}");
            assert!(refused.to_string().starts_with(&format!("--server {path}: ")), "{refused}");
            assert!(refused.to_string().contains(complaint), "{refused}");
        }
    }
}
