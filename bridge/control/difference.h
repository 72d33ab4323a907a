#pragma once
/* What changed between two readings of a config. */
#include "bridge/control/config.h"

bool config_same_peers(const struct config *a, const struct config *b);
bool config_same_broker(const struct broker_config *a, const struct broker_config *b);
bool config_same_entities(const struct config *a, const struct config *b);
