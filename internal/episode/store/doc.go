// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package store keeps a journal of episodes in a file, so that the story survives
// the collector that was to tell it.
//
// It follows the journal as any reader does: nothing that appends ever waits for a
// disk. What was committed outlives kill -9 and a power cut (bbolt). A disk that is
// full, or gone, costs what does not fit into the journal's own memory meanwhile. A
// file that is damaged is set aside and a new one begun; one that somebody else uses
// is left to them. The file is bounded by size and age: records of routine go
// first, as in the journal.
//
// It refuses to be a reason for anything else not to work: whatever is wrong with
// it is said once, and tried again.
package store
