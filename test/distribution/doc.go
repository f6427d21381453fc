// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package distribution tests what is shipped as files: the binaries list our
// components, every documented configuration is accepted by them, and a broken
// one is refused at load, naming the key.
//
// It needs no privilege and starts nothing: the collector's own validate and
// components commands answer.
package distribution
