#!/bin/sh
exec /usr/lib/pgswitchyard/current/node /usr/lib/pgswitchyard/current/bin/pgswitchyard "$@"
