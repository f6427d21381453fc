// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package outage plays outages of everything that the story of an episode passes on its
// way to a backend, each with the whole collector, a leak that is contained meanwhile, and
// a backend that counts: what was recorded must all arrive, as it was, and the arc must not
// notice. The guest does the playing in a virtual machine, because it leaks.
//
// Its data's next stop is dist/outage/report.json.
package outage
