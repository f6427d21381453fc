// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package guest holds tests that run in the machine of package systemd, and nowhere
// else: they start and stop units and give the guard orders about them.
package guest
