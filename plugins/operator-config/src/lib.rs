//! Reads an operator's configuration. Everything wrong in it is told with the place where it stands, and an unknown key
//! is wrong too: a rule that is misspelt must not pass for a rule that is in force.
//!
//! This is what all plugins have in common. What the keys mean is theirs.

use serde_json::{Map, Value};

/// What is wrong with a configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// A JSON pointer to the place; empty: the whole.
    pub path: String,
    /// What was expected there.
    pub message: String,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct At<'a> {
    /// The value.
    pub value: &'a Value,
    path: String,
}

/// Reads the whole.
///
/// # Errors
///
/// It is not JSON.
pub fn read(json: &str) -> Result<Value, ConfigError> {
    serde_json::from_str(json).map_err(|error| ConfigError {
        path: String::new(),
        message: format!("not JSON: {error}"),
    })
}

impl<'a> At<'a> {
    /// The configuration as a whole.
    #[must_use]
    pub fn root(value: &'a Value) -> Self {
        Self {
            value,
            path: String::new(),
        }
    }

    /// Says what is wrong here.
    pub fn error(&self, message: impl Into<String>) -> ConfigError {
        ConfigError {
            path: self.path.clone(),
            message: message.into(),
        }
    }

    /// Where this stands, as a JSON pointer.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Requires a table with none but these keys.
    ///
    /// # Errors
    ///
    /// It is no table, or has another key.
    pub fn only(&self, keys: &[&str]) -> Result<(), ConfigError> {
        for (key, value) in self.table()? {
            if !keys.contains(&key.as_str()) {
                let known = keys.join("`, `");
                return Err(self
                    .below(key, value)
                    .error(format!("unknown key; the keys here are `{known}`")));
            }
        }
        Ok(())
    }

    /// What is at `key`, if this is a table with such a key.
    #[must_use]
    pub fn child(&self, key: &str) -> Option<Self> {
        self.value.get(key).map(|value| self.below(key, value))
    }

    /// The items of this list.
    ///
    /// # Errors
    ///
    /// It is no list.
    pub fn list(&self) -> Result<Vec<Self>, ConfigError> {
        let items = self.value.as_array().ok_or_else(|| self.error("expected a list"))?;
        Ok(items
            .iter()
            .enumerate()
            .map(|(index, value)| self.below(&index.to_string(), value))
            .collect())
    }

    /// The items of the list at `key`; none if there is no such key.
    ///
    /// # Errors
    ///
    /// There is something else than a list.
    pub fn items(&self, key: &str) -> Result<Vec<Self>, ConfigError> {
        self.child(key).map_or_else(|| Ok(Vec::new()), |list| list.list())
    }

    /// The entries of the table at `key`; none if there is no such key.
    ///
    /// # Errors
    ///
    /// There is something else than a table.
    pub fn entries(&self, key: &str) -> Result<Vec<(&'a String, Self)>, ConfigError> {
        let Some(table) = self.child(key) else {
            return Ok(Vec::new());
        };
        Ok(table
            .table()?
            .iter()
            .map(|(name, value)| (name, table.below(name, value)))
            .collect())
    }

    /// This text.
    ///
    /// # Errors
    ///
    /// It is no text, or an empty one.
    pub fn text(&self) -> Result<&'a str, ConfigError> {
        self.value
            .as_str()
            .filter(|text| !text.is_empty())
            .ok_or_else(|| self.error("expected a text that is not empty"))
    }

    /// The number at `key`, if there is such a key.
    ///
    /// # Errors
    ///
    /// There is something else than a whole number from 0 to `max`.
    pub fn number(&self, key: &str, max: u32) -> Result<Option<u32>, ConfigError> {
        let Some(item) = self.child(key) else { return Ok(None) };
        let number = item.value.as_u64().and_then(|number| u32::try_from(number).ok());
        match number {
            Some(number) if number <= max => Ok(Some(number)),
            _ => Err(item.error(format!("expected a whole number from 0 to {max}"))),
        }
    }

    /// The switch at `key`, if there is such a key.
    ///
    /// # Errors
    ///
    /// There is something else than true or false.
    pub fn switch(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        let Some(item) = self.child(key) else { return Ok(None) };
        item.value
            .as_bool()
            .map(Some)
            .ok_or_else(|| item.error("expected true or false"))
    }

    fn table(&self) -> Result<&'a Map<String, Value>, ConfigError> {
        self.value.as_object().ok_or_else(|| self.error("expected a table"))
    }

    fn below(&self, key: &str, value: &'a Value) -> Self {
        Self {
            value,
            path: format!("{}/{}", self.path, key.replace('~', "~0").replace('/', "~1")),
        }
    }
}
