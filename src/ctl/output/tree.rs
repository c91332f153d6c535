//! A result as a tree of named values: what `json` writes, and what the other structured formats walk.

use std::borrow::Cow;

/// One value.
#[derive(Clone, Debug)]
pub enum Tree<'a> {
    /// No value.
    Null,
    /// A truth value.
    Bool(bool),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes that need not be text.
    Bytes(&'a [u8]),
    /// Values in order.
    List(Vec<Tree<'a>>),
    /// Named values in order.
    Object(Object<'a>),
}

impl<'a> Tree<'a> {
    /// Text borrowed from the reply.
    pub fn text(text: &'a str) -> Tree<'a> {
        Tree::Text(Cow::Borrowed(text))
    }

    /// A list with one value per item.
    pub fn list<T>(items: &'a [T], each: impl Fn(&'a T) -> Tree<'a>) -> Tree<'a> {
        Tree::List(items.iter().map(each).collect())
    }

    fn is_empty(&self) -> bool {
        match self {
            Tree::Null | Tree::Bool(false) | Tree::Int(0) | Tree::Uint(0) => true,
            Tree::Text(text) => text.is_empty(),
            Tree::Bytes(bytes) => bytes.is_empty(),
            Tree::List(values) => values.is_empty(),
            Tree::Bool(true) | Tree::Int(_) | Tree::Uint(_) | Tree::Object(_) => false,
        }
    }
}

/// Named values in order. All are kept, so that a format may show what another leaves out.
#[derive(Clone, Debug, Default)]
pub struct Object<'a> {
    fields: Vec<Field<'a>>,
}

#[derive(Clone, Debug)]
struct Field<'a> {
    name: &'static str,
    value: Tree<'a>,
    /// Shown even when empty: the Go struct has no `omitempty` here.
    always: bool,
}

impl<'a> Object<'a> {
    /// No values.
    pub fn new() -> Object<'a> {
        Object::default()
    }

    /// Adds a value that is shown whatever it is.
    #[must_use]
    pub fn always(mut self, name: &'static str, value: Tree<'a>) -> Object<'a> {
        self.fields.push(Field { name, value, always: true });
        self
    }

    /// Adds a value that is shown unless it is zero, empty or absent.
    #[must_use]
    pub fn unless_empty(mut self, name: &'static str, value: Tree<'a>) -> Object<'a> {
        self.fields.push(Field { name, value, always: false });
        self
    }

    /// The values Go's `encoding/json` would show.
    pub fn shown(&self) -> impl Iterator<Item = (&'static str, &Tree<'a>)> {
        self.fields
            .iter()
            .filter(|field| field.always || !field.value.is_empty())
            .map(|field| (field.name, &field.value))
    }
}
