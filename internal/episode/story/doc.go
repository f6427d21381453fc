// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package story puts the records of a journal together to episodes and tells them to
// people, the same on the status page and in a terminal. It only reads: what is not in
// the records is not told.
package story
