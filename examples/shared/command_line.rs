//! A command line of `--flag value` and `--flag=value`, and what is wrong with it in words. Which flags there are and
//! what their values do is left to the program.

use std::ffi::OsString;
use std::fmt;

/// The arguments that follow the program's name.
pub(crate) struct CommandLine<I>(I);

/// A flag as it was given.
#[derive(Debug)]
pub(crate) struct Flag {
    pub(crate) name: String,
    attached: Option<String>,
}

/// An argument that cannot be: which, what it is, and what it must be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong(pub(crate) String);

impl<I: Iterator<Item = OsString>> CommandLine<I> {
    pub(crate) fn new(arguments: impl IntoIterator<IntoIter = I>) -> Self {
        Self(arguments.into_iter())
    }

    pub(crate) fn flag(&mut self) -> Result<Option<Flag>, Wrong> {
        let Some(argument) = self.0.next() else { return Ok(None) };
        let is_text = argument.to_str().is_some();
        let text = argument.to_string_lossy().into_owned();
        let flag = match text.split_once('=') {
            Some((name, value)) => Flag { name: name.into(), attached: Some(value.into()) },
            None => Flag { name: text, attached: None },
        };
        match &flag.attached {
            _ if is_text => Ok(Some(flag)),
            Some(value) => Err(flag.wrong(value, TEXT)),
            None => Err(Wrong(format!("argument is {:?}, must be {TEXT}", flag.name))),
        }
    }

    /// The value of `flag`, which is the next argument unless it is attached.
    pub(crate) fn value(&mut self, flag: &Flag, wanted: &str) -> Result<String, Wrong> {
        if let Some(value) = &flag.attached {
            return Ok(value.clone());
        }
        let value = self.0.next().ok_or_else(|| Wrong(format!("{flag} has no value, must be {wanted}")))?;
        value.into_string().map_err(|value| flag.wrong(&value.to_string_lossy(), TEXT))
    }
}

impl Flag {
    /// It is a switch.
    pub(crate) fn alone(&self) -> Result<(), Wrong> {
        match &self.attached {
            None => Ok(()),
            Some(value) => Err(self.wrong(value, "without a value")),
        }
    }

    pub(crate) fn wrong(&self, value: &str, wanted: &str) -> Wrong {
        Wrong(format!("{self} is {value:?}, must be {wanted}"))
    }

    pub(crate) fn unknown(&self) -> Wrong {
        Wrong(format!("{self} is no flag of this program, see --help"))
    }
}

impl fmt::Display for Flag {
    /// On one line, whatever it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name.escape_debug())
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

const TEXT: &str = "UTF-8 text";
