//! Resolves a path in the code to the module that defines the item.

use std::collections::BTreeSet;

use crate::module_tree::{ModuleId, ModuleTree};

/// The module or item that a path names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// The path names a module, not an item in it.
    Module(ModuleId),
    /// The path names an item of this crate.
    Item {
        /// The module that defines the item.
        module: ModuleId,
        /// The name of the item at its definition.
        name: String,
    },
    /// The path names something that this crate does not define, such as an item of another crate or a local variable.
    Foreign,
}

/// Resolves `path`, which occurs in the module `from`. If the path leads through re-exports, returns the module with
/// the definition.
pub(crate) fn resolve(tree: &ModuleTree, from: ModuleId, path: &[String]) -> Named {
    Resolver { tree, seen: BTreeSet::new() }.path(from, path, Wanted::Any).unwrap_or(Named::Foreign)
}

/// The preference if a module and an item, such as a function, have the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wanted {
    /// Prefer the module, because more segments of the path follow.
    Prefix,
    /// Prefer the item, because no further segment follows.
    Any,
}

struct Resolver<'a> {
    tree: &'a ModuleTree,
    /// The names that were already looked up, because imports may form a cycle (`pub use child::*` in a module,
    /// `use super::*` in its child).
    seen: BTreeSet<(ModuleId, String, Wanted)>,
}

impl Resolver<'_> {
    /// Resolves a path. Returns `None` if this crate has no item or module of that name.
    fn path(&mut self, from: ModuleId, path: &[String], wanted: Wanted) -> Option<Named> {
        let (first, rest) = path.split_first()?;
        let mut named = match first.as_str() {
            "crate" => Named::Module(ModuleTree::ROOT),
            "self" => Named::Module(from),
            "super" => Named::Module(self.tree.get(from).parent?),
            name => self.name(from, name, if rest.is_empty() { wanted } else { Wanted::Prefix })?,
        };
        for (position, segment) in rest.iter().enumerate() {
            // The segments after an item are variants or methods, which are not resolved.
            let Named::Module(module) = named else { return Some(named) };
            let wanted = if position + 1 == rest.len() { wanted } else { Wanted::Prefix };
            named = match segment.as_str() {
                "super" => Named::Module(self.tree.get(module).parent?),
                // The module's code does not show the item, so a macro must define it.
                name => self.name(module, name, wanted).unwrap_or_else(|| item(module, name)),
            };
        }
        Some(named)
    }

    /// Resolves a single name that occurs in `module`.
    fn name(&mut self, module: ModuleId, name: &str, wanted: Wanted) -> Option<Named> {
        if !self.seen.insert((module, name.to_owned(), wanted)) {
            return None;
        }
        let here = self.tree.get(module);
        let child = here.children.get(name).map(|&child| Named::Module(child));
        let item = here.items.contains(name).then(|| item(module, name));
        let defined = if wanted == Wanted::Prefix { child.or(item) } else { item.or(child) };
        defined.or_else(|| self.imported(module, name, wanted)).or_else(|| self.through_globs(module, name, wanted))
    }

    fn imported(&mut self, module: ModuleId, name: &str, wanted: Wanted) -> Option<Named> {
        let mut found = None;
        for import in &self.tree.get(module).imports {
            if import.name.as_deref() == Some(name) {
                // An import that does not resolve comes from another crate.
                found = self.path(module, &import.path, wanted).or(Some(Named::Foreign));
            }
            if !matches!(found, None | Some(Named::Foreign)) {
                break;
            }
        }
        found
    }

    fn through_globs(&mut self, module: ModuleId, name: &str, wanted: Wanted) -> Option<Named> {
        let globs = self.tree.get(module).imports.iter().filter(|import| import.name.is_none());
        globs.into_iter().find_map(|glob| match self.path(module, &glob.path, Wanted::Prefix)? {
            Named::Module(source) => self.name(source, name, wanted),
            _ => None,
        })
    }
}

fn item(module: ModuleId, name: &str) -> Named {
    Named::Item { module, name: name.to_owned() }
}
