#pragma once
/* What must hold when all is quiet. */
struct world;

/* Ends the process when it does not. */
void checker_check(struct world *world);
