// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package backends asks real stores what they know of an episode: VictoriaMetrics of its
// metrics, VictoriaLogs of its events, Jaeger of its trace. They, the collector and a leak
// that is contained run in a virtual machine; what they answered is left in dist/backends.
//
// The test has a build tag, backends: the stores are built first, by make test-backends.
package backends
