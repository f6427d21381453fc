// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Command reflexctl answers an operator's questions: what is missing on this
// machine ("probe"), what is Reflex doing ("status"), what did it do and why
// ("journal"), what does the arc see ("record", "dump"), what would the engine
// have said ("replay"). It only reads: from this machine, from the status API of
// the reflex extension, or from a recording.
package main
