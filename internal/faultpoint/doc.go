// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package faultpoint lets a process stop itself at a named step, for tests that
// kill the guard or a collector between two instructions.
//
// It does so in builds with the tag "faultpoints" only. There the environment
// variable [Control] names a file. While its first line is, say, "KILL 2 knob
// written", the process that passes this step for the second time since claims
// the line and sends itself the signal: the file gets ".fired" behind its name,
// and its other lines become the file. What is behind " #" in a line only tells
// it from another one. In every other build [Pass] is nothing and leaves nothing
// behind.
package faultpoint

// Control names the environment variable.
const Control = "REFLEX_FAULTPOINT"
