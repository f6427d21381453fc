// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package systemd boots a machine with systemd as process 1, installs the shipped units
// in it as distributions/otelcol-reflex/README.md says, and runs the tests of package
// guest there: that the units start under their sandboxes, and that systemd, which
// owns the cgroups of its units, and the guard do not undo each other's work.
package systemd
