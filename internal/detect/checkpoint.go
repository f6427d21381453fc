// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import "errors"

// ErrCheckpoint is wrapped by every error about a checkpoint that cannot be
// used: damaged, of another version, or of other dimensions.
var ErrCheckpoint = errors.New("unusable checkpoint")

// AppendCheckpoint appends what the detector has learned to b and returns it.
func (d *Detector) AppendCheckpoint(b []byte) []byte { return b }

// Restore takes up a checkpoint. On an error, which wraps [ErrCheckpoint], the
// detector is as it was.
func (d *Detector) Restore([]byte) error { return ErrCheckpoint }
