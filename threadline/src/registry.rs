//! Every audited model the running program was linked with.

use crate::capture::{AuditSpec, TableName};
use crate::error::Error;
use crate::investigation::Audited;

/// One model that derives `Audited`, as the program can list it.
///
/// A model is found when its crate is linked, which takes a `use` of that crate: a dependency that is in `Cargo.toml` and
/// nowhere in the code is left out by the compiler.
#[derive(Clone, Copy, Debug)]
pub struct AuditedModel {
    module: &'static str,
    name: &'static str,
    spec: &'static AuditSpec<'static>,
    table: fn() -> TableName,
}

impl AuditedModel {
    /// The entry of model `M`; the derive calls this.
    #[doc(hidden)]
    pub const fn of<M: Audited>(module: &'static str, name: &'static str) -> Self {
        Self { module, name, spec: &M::AUDIT, table: M::table_name }
    }

    /// The model's path, such as `blog::models::Post`.
    pub fn path(&self) -> String {
        format!("{}::{}", self.module, self.name)
    }

    /// What the model declares.
    pub fn spec(&self) -> &'static AuditSpec<'static> {
        self.spec
    }

    /// The table it is about: the schema of its `table!`, else the one it declares, else the search path's.
    ///
    /// # Errors
    ///
    /// [`Error::SchemaContradiction`] when the model and its `table!` name different schemas.
    pub fn table(&self) -> Result<TableName, Error> {
        let table = (self.table)();
        match (table.schema(), self.spec.schema) {
            (Some(named), Some(declared)) if named != declared => Err(Error::SchemaContradiction {
                model: self.path(),
                declared: declared.to_owned(),
                table: table.to_string(),
            }),
            (None, Some(declared)) => Ok(TableName::new(Some(declared), table.name())),
            _ => Ok(table),
        }
    }

    /// The SQL that starts auditing the model's table as the model declares.
    ///
    /// # Errors
    ///
    /// As [`table`](Self::table).
    pub fn up_sql(&self) -> Result<String, Error> {
        Ok(self.spec.attach_sql(&self.table()?))
    }

    /// The SQL that ends the audit of the model's table; what was recorded stays.
    ///
    /// # Errors
    ///
    /// As [`table`](Self::table).
    pub fn down_sql(&self) -> Result<String, Error> {
        Ok(AuditSpec::detach_sql(&self.table()?))
    }
}

inventory::collect!(AuditedModel);

/// Every audited model this program was linked with, in the order of their paths.
pub fn audited_models() -> Vec<AuditedModel> {
    let mut models: Vec<AuditedModel> = inventory::iter::<AuditedModel>().copied().collect();
    models.sort_by_key(|model| (model.module, model.name));
    models
}
