#include "proto/tap_frame.h"
