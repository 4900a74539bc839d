//! Options by flag, by environment variable, or by default.

use crate::error::InvalidOption;
use crate::values::{self, InvalidValue};

/// The environment: a variable's value, if it is set.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// One option as it was said: its flag, and the variables that count when the flag is absent, the first that is set.
#[derive(Clone, Copy)]
pub(crate) struct Said<'a> {
    pub(crate) flag: &'static str,
    pub(crate) value: Option<&'a str>,
    pub(crate) variables: &'static [&'static str],
}

impl Said<'_> {
    /// What it means; nothing when nobody said anything.
    pub(crate) fn read<T>(
        self,
        environment: Environment<'_>,
        parse: impl Fn(&str) -> Result<T, InvalidValue>,
    ) -> Result<Option<T>, InvalidOption> {
        let Some((place, text)) = self.text(environment) else {
            return Ok(None);
        };
        match parse(&text) {
            Ok(value) => Ok(Some(value)),
            Err(reason) => Err(InvalidOption {
                place: place.to_owned(),
                reason,
            }),
        }
    }

    /// As [`Said::read`], where an empty text is as if nobody had said anything.
    pub(crate) fn read_filled<T>(
        self,
        environment: Environment<'_>,
        parse: impl Fn(&str) -> Result<T, InvalidValue>,
    ) -> Result<Option<T>, InvalidOption> {
        let parse = |text: &str| (!text.is_empty()).then(|| parse(text)).transpose();
        self.read(environment, parse).map(Option::flatten)
    }

    fn text(self, environment: Environment<'_>) -> Option<(&'static str, String)> {
        if let Some(value) = self.value {
            return Some((self.flag, value.to_owned()));
        }
        let mut variables = self.variables.iter();
        variables.find_map(|name| environment(name).map(|value| (*name, value)))
    }
}

/// Whether a flag is set, or one of these variables says so.
pub(crate) fn is_set(
    environment: Environment<'_>,
    flag: Option<bool>,
    variables: &'static [&'static str],
) -> Result<bool, InvalidOption> {
    if let Some(is_set) = flag {
        return Ok(is_set);
    }
    let said = Said {
        flag: "",
        value: None,
        variables,
    };
    said.read_filled(environment, values::boolean)
        .map(Option::unwrap_or_default)
}
