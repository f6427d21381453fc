// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/test/vmtest/internal/wire"
)

// guestStream returns the frames a guest sends: output, an archive with one file
// of that name, and the given end.
func guestStream(t *testing.T, name string, kind wire.Kind, end string) *bytes.Buffer {
	t.Helper()
	var port bytes.Buffer
	w := wire.NewWriter(&port)
	require.NoError(t, w.Write(wire.Output, []byte("said\n")))
	archive := tar.NewWriter(w.Stream(wire.Archive))
	require.NoError(t, archive.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: 100_000, Typeflag: tar.TypeReg}))
	_, err := archive.Write(make([]byte, 100_000))
	require.NoError(t, err)
	require.NoError(t, archive.Close())
	require.NoError(t, w.Write(kind, []byte(end)))
	return &port
}

func TestReceiveReturnsTheCommandsEnd(t *testing.T) {
	dir := t.TempDir()
	var output bytes.Buffer
	r, err := receive(guestStream(t, "file", wire.Exit, "3"), &output, dir)
	require.NoError(t, err)
	assert.Equal(t, result{exit: 3}, r)
	assert.Equal(t, "said\n", output.String())
	info, err := os.Stat(filepath.Join(dir, "file"))
	require.NoError(t, err)
	assert.Equal(t, int64(100_000), info.Size())
}

func TestReceiveWritesNothingOutsideTheDirectory(t *testing.T) {
	parent := t.TempDir()
	_, err := receive(guestStream(t, "../escaped", wire.Exit, "0"), io.Discard, filepath.Join(parent, "inside"))
	require.Error(t, err)
	assert.NoFileExists(t, filepath.Join(parent, "escaped"))
}

func TestReceiveTellsADeadMachineFromAFinishedOne(t *testing.T) {
	port := guestStream(t, "file", wire.Exit, "0")
	port.Truncate(port.Len() - 6) // the last frame never came
	_, err := receive(port, io.Discard, t.TempDir())
	assert.ErrorIs(t, err, io.EOF)
}

func TestReceivePassesInitsFailureOn(t *testing.T) {
	r, err := receive(guestStream(t, "file", wire.Failed, "mount: no such device"), io.Discard, "")
	require.NoError(t, err)
	assert.Equal(t, "mount: no such device", r.failed)
}
