//! The modules of one crate. For each module: its file, the items that it defines, and the names that it imports and
//! mentions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Attribute, Item, ItemMod, Meta};

use crate::doc_examples::doc_examples;
use crate::error::LayersError;
use crate::names::{Import, imports, mentions};

/// The index of a module in its [`ModuleTree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ModuleId(usize);

/// The modules of one crate.
#[derive(Debug)]
pub(crate) struct ModuleTree {
    modules: Vec<Module>,
    tests: Tests,
}

/// Whether code under `#[cfg(test)]` and examples in doc comments are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tests {
    Read,
    LeftOut,
}

/// One module, which may share its file with other modules.
#[derive(Debug)]
pub(crate) struct Module {
    /// The file with the module's code.
    pub(crate) file: PathBuf,
    /// The module that declares this module, or `None` for the crate's root.
    pub(crate) parent: Option<ModuleId>,
    /// The modules that this module declares, by name.
    pub(crate) children: BTreeMap<String, ModuleId>,
    /// The names of the items that this module defines.
    pub(crate) items: BTreeSet<String>,
    /// The names that the `use` declarations of this module import.
    pub(crate) imports: Vec<Import>,
    /// The paths that the code of this module mentions.
    pub(crate) paths: BTreeSet<Vec<String>>,
    /// The folder with the files of the child modules.
    children_dir: PathBuf,
}

impl ModuleTree {
    /// The crate's root module, to which `crate::` refers.
    pub(crate) const ROOT: ModuleId = ModuleId(0);

    /// Reads the crate whose root file is `root`, with the files of all its modules.
    pub(crate) fn read(root: &Path, tests: Tests) -> Result<Self, LayersError> {
        let mut tree = Self { modules: Vec::new(), tests };
        let dir = root.parent().unwrap_or(Path::new("")).to_owned();
        tree.read_file(root.to_owned(), dir, None)?;
        Ok(tree)
    }

    pub(crate) fn get(&self, id: ModuleId) -> &Module {
        &self.modules[id.0]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ModuleId, &Module)> {
        self.modules.iter().enumerate().map(|(position, module)| (ModuleId(position), module))
    }

    /// Finds the closest common ancestor of `a` and `b`. Returns the child of this ancestor that contains `a`, and the
    /// child that contains `b`. Returns `None` if `a` contains `b` or `b` contains `a`.
    pub(crate) fn siblings(&self, a: ModuleId, b: ModuleId) -> Option<(ModuleId, ModuleId)> {
        let (a, b) = (self.lineage(a), self.lineage(b));
        a.into_iter().zip(b).find(|(a, b)| a != b)
    }

    /// Returns the modules that contain the module `id`, from the crate's root down to `id` itself.
    fn lineage(&self, id: ModuleId) -> Vec<ModuleId> {
        let mut path: Vec<ModuleId> = std::iter::successors(Some(id), |&id| self.get(id).parent).collect();
        path.reverse();
        path
    }

    fn read_file(
        &mut self,
        file: PathBuf,
        children_dir: PathBuf,
        parent: Option<ModuleId>,
    ) -> Result<ModuleId, LayersError> {
        let text = std::fs::read_to_string(&file).map_err(|source| LayersError::Read { path: file.clone(), source })?;
        let code = syn::parse_file(&text).map_err(|source| LayersError::Parse { path: file.clone(), source })?;
        let id = self.add(file, children_dir, parent, code.items)?;
        if self.tests == Tests::Read {
            let examples = doc_examples(&text).into_iter().filter_map(|example| example.parse::<TokenStream>().ok());
            examples.for_each(|example| self.add_mentions(id, &example));
        }
        Ok(id)
    }

    fn add_mentions(&mut self, id: ModuleId, code: &impl ToTokens) {
        let found = mentions(code);
        let module = &mut self.modules[id.0];
        module.paths.extend(found.paths);
        module.imports.extend(found.imports);
    }

    fn add(
        &mut self,
        file: PathBuf,
        children_dir: PathBuf,
        parent: Option<ModuleId>,
        items: Vec<Item>,
    ) -> Result<ModuleId, LayersError> {
        let id = ModuleId(self.modules.len());
        self.modules.push(Module {
            file,
            parent,
            children: BTreeMap::new(),
            items: BTreeSet::new(),
            imports: Vec::new(),
            paths: BTreeSet::new(),
            children_dir,
        });
        for item in items {
            self.add_item(id, item)?;
        }
        Ok(id)
    }

    fn add_item(&mut self, id: ModuleId, item: Item) -> Result<(), LayersError> {
        if self.leaves_out(attributes(&item)) {
            return Ok(());
        }
        match item {
            Item::Use(item) => self.modules[id.0].imports.extend(imports(&item)),
            Item::Mod(item) => self.add_child(id, item)?,
            mut item => {
                if let Item::Impl(block) = &mut item {
                    block.items.retain(|item| !self.leaves_out(impl_attributes(item)));
                }
                self.modules[id.0].items.extend(name(&item));
                self.add_mentions(id, &item);
            }
        }
        Ok(())
    }

    fn leaves_out(&self, attributes: &[Attribute]) -> bool {
        self.tests == Tests::LeftOut && attributes.iter().any(is_for_tests)
    }

    fn add_child(&mut self, id: ModuleId, item: ItemMod) -> Result<(), LayersError> {
        let name = item.ident.to_string();
        let children_dir = self.get(id).children_dir.join(&name);
        let child = match item.content {
            Some((_, items)) => self.add(self.get(id).file.clone(), children_dir, Some(id), items)?,
            None => {
                let (file, children_dir) = self.module_file(id, &name, &item.attrs)?;
                self.read_file(file, children_dir, Some(id))?
            }
        };
        self.modules[id.0].children.insert(name, child);
        Ok(())
    }

    /// Returns the file of the module that `mod name;` declares, and the folder with the files of the child modules of
    /// that module.
    fn module_file(
        &self,
        id: ModuleId,
        name: &str,
        attributes: &[Attribute],
    ) -> Result<(PathBuf, PathBuf), LayersError> {
        let module = self.get(id);
        let dir = &module.children_dir;
        let (plain, nested) = (dir.join(format!("{name}.rs")), dir.join(name).join("mod.rs"));
        let found = match attributes.iter().find_map(path_attribute) {
            Some(path) => {
                let file = module.file.parent().unwrap_or(Path::new("")).join(path);
                let dir = file.parent().map(Path::to_owned).unwrap_or_default();
                Some((file, dir))
            }
            None if plain.exists() => Some((plain.clone(), dir.join(name))),
            None if nested.exists() => Some((nested.clone(), dir.join(name))),
            None => None,
        };
        found.ok_or_else(|| LayersError::NoModuleFile {
            name: name.to_owned(),
            declared_in: module.file.clone(),
            candidates: vec![plain, nested],
        })
    }
}

fn name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn impl_attributes(item: &syn::ImplItem) -> &[Attribute] {
    match item {
        syn::ImplItem::Const(item) => &item.attrs,
        syn::ImplItem::Fn(item) => &item.attrs,
        syn::ImplItem::Type(item) => &item.attrs,
        syn::ImplItem::Macro(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether the attribute is `#[cfg(test)]`, or a `#[cfg(all(…))]` that contains `test`.
fn is_for_tests(attribute: &Attribute) -> bool {
    fn requires_test(meta: &Meta) -> bool {
        match meta {
            Meta::Path(path) => path.is_ident("test"),
            Meta::List(list) if list.path.is_ident("all") || list.path.is_ident("cfg") => list
                .parse_args_with(syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated)
                .is_ok_and(|metas| metas.iter().any(requires_test)),
            _ => false,
        }
    }
    attribute.path().is_ident("cfg") && requires_test(&attribute.meta)
}

/// Returns the path in `#[path = "…"]`, or `None` for any other attribute.
fn path_attribute(attribute: &Attribute) -> Option<PathBuf> {
    let Meta::NameValue(meta) = &attribute.meta else { return None };
    let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &meta.value else { return None };
    meta.path.is_ident("path").then(|| PathBuf::from(text.value()))
}
