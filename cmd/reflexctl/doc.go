// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Command reflexctl answers an operator's questions: what is missing on this
// machine ("probe"), what is Reflex doing ("status", "leases"), what may it do
// ("levels"), what did it do and why ("explain", "journal"), what does the arc see
// ("record", "dump"), what would the engine have said ("replay"). It carries an
// operator's orders: give back ("release"), stop ("kill-switch"), cut off
// ("quarantine"). It reads this machine, the status API of the reflex extension,
// the guard's status, or a recording; it orders through the operators' socket of
// the extension and the guard's socket, and writes nothing itself but the file of
// the kill switch.
package main
