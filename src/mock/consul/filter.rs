//! The part of Consul's [filter expressions](https://developer.hashicorp.com/consul/api-docs/features/filtering) that asks for
//! services (pure).

use serde_json::Value;

/// A condition on an element of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Is(Vec<String>, Test),
}

/// What is asked of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Equals(String),
    /// A list has it, a map has the key, a text has the part.
    Contains(String),
    Empty,
}

impl Filter {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { text, at: 0 };
        let filter = parser.any()?;
        match parser.rest() {
            "" => Ok(filter),
            _ => Err(parser.expected("\"and\", \"or\" or the end")),
        }
    }

    pub(super) fn accepts(&self, element: &Value) -> bool {
        match self {
            Self::And(one, other) => one.accepts(element) && other.accepts(element),
            Self::Or(one, other) => one.accepts(element) || other.accepts(element),
            Self::Not(one) => !one.accepts(element),
            Self::Is(path, test) => {
                let found = path.iter().try_fold(element, |value, key| value.get(key));
                test.accepts(found.unwrap_or(&Value::Null))
            }
        }
    }
}

impl Test {
    fn accepts(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Equals(wanted), Value::String(text)) => text == wanted,
            (Self::Equals(wanted), Value::Null) => wanted.is_empty(),
            (Self::Equals(wanted), other) => {
                let text = other.to_string();
                text == *wanted
            }
            (Self::Contains(wanted), Value::Array(list)) => {
                list.iter().any(|one| one == wanted.as_str())
            }
            (Self::Contains(wanted), Value::Object(map)) => map.contains_key(wanted),
            (Self::Contains(wanted), Value::String(text)) => text.contains(wanted),
            (Self::Contains(_), _) => false,
            (Self::Empty, Value::Array(list)) => list.is_empty(),
            (Self::Empty, Value::Object(map)) => map.is_empty(),
            (Self::Empty, Value::String(text)) => text.is_empty(),
            (Self::Empty, other) => other.is_null(),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    fn expected(&mut self, what: &str) -> String {
        self.rest();
        format!(
            "1:{} ({}): no match found, expected: {what}",
            self.at + 1,
            self.at
        )
    }

    /// A sign that stands here, which is then read.
    fn sign(&mut self, sign: &str) -> bool {
        let is_here = self.rest().starts_with(sign);
        self.at += if is_here { sign.len() } else { 0 };
        is_here
    }

    /// A word that stands here as a whole, which is then read.
    fn word(&mut self, word: &str) -> bool {
        let after = self.rest().strip_prefix(word);
        let is_here = after.is_some_and(|after| !after.starts_with(is_plain));
        self.at += if is_here { word.len() } else { 0 };
        is_here
    }

    fn any(&mut self) -> Result<Filter, String> {
        let mut left = self.all()?;
        while self.word("or") {
            left = Filter::Or(Box::new(left), Box::new(self.all()?));
        }
        Ok(left)
    }

    fn all(&mut self) -> Result<Filter, String> {
        let mut left = self.one()?;
        while self.word("and") {
            left = Filter::And(Box::new(left), Box::new(self.one()?));
        }
        Ok(left)
    }

    fn one(&mut self) -> Result<Filter, String> {
        if self.word("not") {
            return Ok(Filter::Not(Box::new(self.one()?)));
        }
        if self.sign("(") {
            let inner = self.any()?;
            return match self.sign(")") {
                true => Ok(inner),
                false => Err(self.expected("\")\"")),
            };
        }
        if self.rest().starts_with(['"', '`']) {
            return self.within();
        }
        let path = self.path()?;
        let is = |test| Ok(Filter::Is(path.clone(), test));
        let not = |test| Ok(Filter::Not(Box::new(Filter::Is(path.clone(), test))));
        if self.sign("==") {
            return is(Test::Equals(self.value()?));
        }
        if self.sign("!=") {
            return not(Test::Equals(self.value()?));
        }
        if self.word("contains") {
            return is(Test::Contains(self.value()?));
        }
        if self.word("is") {
            let is_not = self.word("not");
            return match (self.word("empty"), is_not) {
                (true, false) => is(Test::Empty),
                (true, true) => not(Test::Empty),
                (false, _) => Err(self.expected("\"empty\"")),
            };
        }
        if self.word("not") && self.word("contains") {
            return not(Test::Contains(self.value()?));
        }
        Err(self.expected("\"!=\", \"==\", \"contains\", \"in\", \"is\" or \"not\""))
    }

    /// `"value" in Selector`.
    fn within(&mut self) -> Result<Filter, String> {
        let value = self.value()?;
        let is_not = self.word("not");
        if !self.word("in") {
            return Err(self.expected("\"in\" or \"not\""));
        }
        let filter = Filter::Is(self.path()?, Test::Contains(value));
        Ok(match is_not {
            true => Filter::Not(Box::new(filter)),
            false => filter,
        })
    }

    /// `Service.Meta.zone`, `Service.Meta["zone"]`.
    fn path(&mut self) -> Result<Vec<String>, String> {
        let mut path = vec![self.plain("a selector")?];
        loop {
            let rest = &self.text[self.at..];
            if rest.starts_with('.') {
                self.at += 1;
                path.push(self.plain("a selector")?);
            } else if rest.starts_with('[') {
                self.at += 1;
                path.push(self.value()?);
                if !self.sign("]") {
                    return Err(self.expected("\"]\""));
                }
            } else {
                return Ok(path);
            }
        }
    }

    fn plain(&mut self, what: &str) -> Result<String, String> {
        let rest = self.rest();
        let end = rest.find(|c| !is_plain(c)).unwrap_or(rest.len());
        if end == 0 {
            return Err(self.expected(what));
        }
        self.at += end;
        Ok(rest[..end].to_owned())
    }

    /// A text in quotes, which knows no escapes, or a word.
    fn value(&mut self) -> Result<String, String> {
        let rest = self.rest();
        let Some(quote) = rest.chars().next().filter(|c| ['"', '`'].contains(c)) else {
            return self.plain("a value");
        };
        match rest[1..].find(quote) {
            Some(end) => {
                self.at += end + 2;
                Ok(rest[1..=end].to_owned())
            }
            None => Err(self.expected("the end of a text")),
        }
    }
}

fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

#[cfg(test)]
mod tests {
    use crate::mock::consul::filter::Filter;
    use serde_json::json;

    #[test]
    fn each_expression_chooses_as_consul_does() {
        let element = json!({"Service": {
            "ID": "kv-1", "Tags": ["v2", "a \"b"], "Port": 50051, "Address": "",
            "Meta": {"zone": "eu", "a-b": "c"},
        }});
        let table = [
            ("Service.Tags contains \"v2\"", true),
            ("Service.Tags contains v3", false),
            ("Service.Tags not contains v3", true),
            ("\"v2\" in Service.Tags", true),
            ("\"v2\" not in Service.Tags", false),
            ("Service.Tags contains `a \"b`", true),
            ("Service.Meta.zone == eu", true),
            ("Service.Meta[\"a-b\"] == c", true),
            ("Service.Meta.zone != \"eu\"", false),
            ("Service.Meta contains zone", true),
            ("Service.Port == 50051", true),
            ("Service.Address is empty", true),
            ("Service.Tags is not empty", true),
            ("Service.Nothing == \"x\"", false),
            ("not Service.Meta.zone == us and Service.ID == `kv-1`", true),
            (
                "Service.ID == x or (Service.ID == y or Service.Port == 50051)",
                true,
            ),
            (
                "Service.ID == `kv-1` or Service.ID == x and Service.ID == y",
                true,
            ),
            (
                "( Service.ID == `kv-1` or Service.ID == x ) and Service.ID == y",
                false,
            ),
        ];
        for (text, accepts) in table {
            let filter = Filter::parse(text).unwrap();
            assert_eq!(filter.accepts(&element), accepts, "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_is_told_with_its_place() {
        let table = [
            (
                "Service.Tags like x",
                "1:14 (13): no match found, expected: ",
            ),
            ("foo=", "1:4 (3): no match found, expected: "),
            ("", "1:1 (0): no match found, expected: "),
            ("(a == b", "1:8 (7): no match found, expected: \")\""),
            (
                "a == \"b",
                "1:6 (5): no match found, expected: the end of a text",
            ),
            ("a == b c", "1:8 (7): no match found, expected: "),
            ("a is full", "1:6 (5): no match found, expected: \"empty\""),
            (
                "\"x\" on y",
                "1:5 (4): no match found, expected: \"in\" or \"not\"",
            ),
            ("é", "1:3 (2): no match found, expected: "),
        ];
        for (text, told) in table {
            let error = Filter::parse(text).unwrap_err();
            assert!(error.starts_with(told), "{text}: {error}");
        }
    }
}
