//! Finds the paths that source code mentions. The search reads tokens instead of a syntax tree, so that it also finds
//! paths inside macro calls.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{ItemUse, UseTree, Visibility};

/// One name that a `use` declaration imports into a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Import {
    /// The name that the import has inside the module, or `None` for a glob import (`*`).
    pub(crate) name: Option<String>,
    /// The path that is imported.
    pub(crate) path: Vec<String>,
    /// Whether the import is a re-export (`pub use`, `pub(crate) use`), so that other modules can use the name.
    pub(crate) is_reexport: bool,
}

/// The paths and imports in a piece of code.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mentions {
    /// All paths, including single identifiers of any kind, such as local variables.
    pub(crate) paths: Vec<Vec<String>>,
    /// The imports of `use` declarations inside functions.
    pub(crate) imports: Vec<Import>,
}

/// Returns every import of a `use` declaration.
pub(crate) fn imports(item: &ItemUse) -> Vec<Import> {
    let mut found = Vec::new();
    if item.leading_colon.is_none() {
        let is_reexport = !matches!(item.vis, Visibility::Inherited);
        add_imports(&item.tree, &mut Vec::new(), is_reexport, &mut found);
    }
    found
}

fn add_imports(tree: &UseTree, prefix: &mut Vec<String>, is_reexport: bool, found: &mut Vec<Import>) {
    let mut add = |name: Option<String>, last: Option<String>| {
        // `use a::{self}` imports `a`.
        let path: Vec<String> = prefix.iter().cloned().chain(last.filter(|last| last != "self")).collect();
        let name = name.map(|name| if name == "self" { path.last().cloned().unwrap_or(name) } else { name });
        found.push(Import { name, path, is_reexport });
    };
    match tree {
        UseTree::Name(name) => add(Some(name.ident.to_string()), Some(name.ident.to_string())),
        UseTree::Rename(rename) => add(Some(rename.rename.to_string()), Some(rename.ident.to_string())),
        UseTree::Glob(_) => add(None, None),
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            add_imports(&path.tree, prefix, is_reexport, found);
            prefix.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| add_imports(tree, prefix, is_reexport, found)),
    }
}

/// Returns every path and every import in `code`, except those in doc comments.
pub(crate) fn mentions(code: &impl ToTokens) -> Mentions {
    let mut found = Mentions::default();
    read(code.to_token_stream(), &mut found);
    found
}

fn read(tokens: TokenStream, found: &mut Mentions) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Group(group) if is_attribute(&tokens, at) => read_attribute(group.stream(), found),
            TokenTree::Group(group) => read(group.stream(), found),
            TokenTree::Ident(ident) if ident == "use" => {
                let end =
                    tokens[at..].iter().position(|token| is_punct(token, ';')).map_or(tokens.len(), |n| at + n + 1);
                let declaration = tokens[at..end].iter().cloned().collect();
                if let Ok(item) = syn::parse2::<ItemUse>(declaration) {
                    found.imports.extend(imports(&item));
                    at = end;
                    continue;
                }
            }
            TokenTree::Ident(_) => {
                let path = path_at(&tokens[at..]);
                let len = 3 * path.len() - 2;
                if !is_behind(&tokens, at) {
                    found.paths.push(path);
                }
                at += len;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
}

/// Whether the token at `at` is the bracketed part of an attribute, `#[…]` or `#![…]`.
fn is_attribute(tokens: &[TokenTree], at: usize) -> bool {
    let TokenTree::Group(group) = &tokens[at] else { return false };
    let before = tokens[..at].iter().rev().find(|token| !is_punct(token, '!'));
    group.delimiter() == Delimiter::Bracket && before.is_some_and(|token| is_punct(token, '#'))
}

fn read_attribute(tokens: TokenStream, found: &mut Mentions) {
    if !matches!(tokens.clone().into_iter().next(), Some(TokenTree::Ident(ident)) if ident == "doc") {
        read_literals(tokens.clone(), found);
        read(tokens, found);
    }
}

/// Reads the paths in string literals, as in `#[serde(with = "crate::text")]`, which derive macros use.
fn read_literals(tokens: TokenStream, found: &mut Mentions) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => read_literals(group.stream(), found),
            TokenTree::Literal(literal) => {
                let text = syn::parse2::<syn::LitStr>(TokenTree::from(literal).into());
                if let Ok(path) = text.and_then(|text| text.parse::<syn::Path>()) {
                    read(path.to_token_stream(), found);
                }
            }
            _ => {}
        }
    }
}

/// Returns the path at the start of `tokens`. The first token must be an identifier. Between two segments of a path are
/// two tokens, because `::` is two colons.
fn path_at(tokens: &[TokenTree]) -> Vec<String> {
    let mut path = Vec::new();
    let mut rest = tokens;
    while let [TokenTree::Ident(ident), after @ ..] = rest {
        path.push(ident.to_string());
        match after {
            [first, second, next @ ..] if is_punct(first, ':') && is_punct(second, ':') => rest = next,
            _ => break,
        }
    }
    path
}

/// Whether the identifier at `at` is not the start of a path, but a field, a method, a lifetime, or a later segment of
/// a path (`::std`, `Type::<T>::new`).
fn is_behind(tokens: &[TokenTree], at: usize) -> bool {
    match &tokens[..at] {
        [.., first, second] if is_punct(second, ':') => is_punct(first, ':'),
        // The end of a range (`0..LEN`) is not a field.
        [.., first, second] if is_punct(second, '.') => !is_punct(first, '.'),
        [.., before] => is_punct(before, '.') || is_punct(before, '\''),
        [] => false,
    }
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(code: &str) -> Vec<String> {
        let tokens: TokenStream = code.parse().unwrap();
        mentions(&tokens).paths.iter().map(|path| path.join("::")).collect()
    }

    fn imported(code: &str) -> Vec<(Option<String>, String)> {
        let item: ItemUse = syn::parse_str(code).unwrap();
        imports(&item).into_iter().map(|import| (import.name, import.path.join("::"))).collect()
    }

    #[test]
    fn paths_are_read_whole_and_from_macro_calls_and_attributes() {
        assert_eq!(paths("a::B::new(crate::c::D)"), ["a::B::new", "crate::c::D"]);
        assert_eq!(paths("info!(\"{}\", super::text(x))"), ["info", "super::text", "x"]);
        assert_eq!(paths("#[serde(with = \"crate::bytes\")] x"), ["crate::bytes", "serde", "with", "x"]);
    }

    #[test]
    fn fields_methods_lifetimes_and_later_segments_are_not_paths() {
        assert_eq!(paths("a.b().c"), ["a"]);
        assert_eq!(paths("&'a B"), ["B"]);
        assert_eq!(paths("::std::fmt; B::<T>::new"), ["B", "T"]);
        assert_eq!(paths("a..B"), ["a", "B"]);
        assert_eq!(paths("#[doc = \"crate::a\"] b"), ["b"]);
    }

    #[test]
    fn every_form_of_use_is_split_into_its_imports() {
        let name = |text: &str| Some(text.to_owned());
        assert_eq!(imported("use a::b;"), [(name("b"), "a::b".to_owned())]);
        assert_eq!(imported("use a::b as c;"), [(name("c"), "a::b".to_owned())]);
        assert_eq!(imported("use a::*;"), [(None, "a".to_owned())]);
        assert_eq!(imported("use a::{self, b};"), [(name("a"), "a".to_owned()), (name("b"), "a::b".to_owned())]);
    }

    #[test]
    fn a_use_in_a_function_is_found() {
        let tokens: TokenStream = "{ use crate::a::B; impl Fn() + use<'a> }".parse().unwrap();
        assert_eq!(mentions(&tokens).imports[0].path.join("::"), "crate::a::B");
    }
}
