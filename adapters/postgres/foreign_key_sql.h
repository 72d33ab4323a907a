#pragma once
/* SQL that checks foreign keys at the end of a transaction, in place of the triggers that replica role switches off: composed as in statement.h,
 * to be freed by the caller.
 *
 * child: parameters are the entity's key columns; -> numbers bigint[] of rows whose parent is missing; locks the parents.
 * values: the same parameters; -> number and referenced values of each of these rows, as text.
 * parent: parameters are such values; -> numbers bigint[] of those that children still refer to although they are gone. */
#include "adapters/postgres/catalog.h"

char *foreign_key_child_check(const struct catalog_entity *entity, const struct catalog_foreign_key *key);
char *foreign_key_referenced_values(const struct catalog_entity *entity, const struct catalog_foreign_key *key);
char *foreign_key_parent_check(const struct catalog_foreign_key *key);
/* own_child: the same parameters as child, and this node's name; -> whether that node wrote a row that refers to the entity's. child:
 * the entity that the referring table is mapped by, NULL when it is this node's own business and so are its rows. */
char *foreign_key_own_child(const struct catalog_entity *entity, const struct catalog_foreign_key *key,
                          const struct catalog_entity *child, bool from_log);
