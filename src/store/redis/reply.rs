//! Answers of scripts, read field by field.

use std::sync::Arc;

use super::link::Value;
use super::record::decode;
use crate::message::{Event, Seq};

/// A script's answer: a word, and what belongs to it.
pub(super) struct Reply {
    fields: std::vec::IntoIter<Value>,
    /// What the answer is.
    pub(super) word: String,
}

impl Reply {
    /// Takes an answer apart. `None` if it is not of a script of ours.
    pub(super) fn of(value: Value) -> Option<Self> {
        let mut fields = value.into_list()?.into_iter();
        let word = fields.next()?.text()?.to_owned();
        Some(Self { fields, word })
    }

    /// The next field, a text.
    pub(super) fn text(&mut self) -> Option<String> {
        match self.fields.next()? {
            Value::Int(number) => Some(number.to_string()),
            field => field.text().map(str::to_owned),
        }
    }

    /// The next field, a number.
    pub(super) fn number(&mut self) -> Option<u64> {
        self.fields.next()?.int().and_then(|number| u64::try_from(number).ok())
    }

    /// The next field, yes or no.
    pub(super) fn flag(&mut self) -> Option<bool> {
        self.number().map(|number| number != 0)
    }

    /// The next field, an epoch, if there is a log.
    pub(super) fn epoch(&mut self) -> Option<Option<Arc<str>>> {
        self.text().map(|epoch| (!epoch.is_empty()).then(|| Arc::from(epoch)))
    }

    /// Takes the last field.
    pub(super) fn last(&mut self) -> Option<String> {
        self.fields.next_back()?.text().map(str::to_owned)
    }

    /// All further fields, as texts.
    pub(super) fn texts(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.text()).collect()
    }

    /// All further fields, as events in a row. `None` if one of them is none.
    pub(super) fn events(&mut self, first: Seq) -> Option<Vec<Arc<Event>>> {
        let records = self.fields.by_ref().zip(first..);
        records.map(|(record, seq)| Some(Arc::new(decode(Some(seq), record.text()?)?))).collect()
    }
}
