// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/u-root/u-root/pkg/cpio"

	"github.com/otelcol-reflex/reflex/test/vmtest/internal/wire"
)

// write returns the names in the initramfs, in order.
func write(t *testing.T, files ...File) ([]string, error) {
	t.Helper()
	init := filepath.Join(t.TempDir(), "init")
	require.NoError(t, os.WriteFile(init, []byte("init"), 0o600))
	var out bytes.Buffer
	if err := initramfs(&out, init, []module{{name: "veth", image: []byte("elf")}}, nil, files, wire.Config{Command: []string{"/bin/a"}}); err != nil {
		return nil, err
	}
	var names []string
	r := cpio.EOFReader{RecordReader: cpio.Newc.Reader(bytes.NewReader(out.Bytes()))}
	for {
		record, err := r.ReadRecord()
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		require.NoError(t, err)
		names = append(names, record.Name)
	}
}

func TestInitramfsHoldsEachDirectoryOnceAndBeforeItsFiles(t *testing.T) {
	names, err := write(t, File{Guest: "/a/b/c", Data: []byte("1")}, File{Guest: "/a/b/d", Data: []byte("2")})
	require.NoError(t, err)
	at := map[string]int{}
	for i, name := range names {
		_, twice := at[name]
		assert.False(t, twice, name)
		at[name] = i
	}
	assert.Less(t, at["a"], at["a/b"])
	assert.Less(t, at["a/b"], at["a/b/c"])
	assert.Contains(t, at, "a/b/d")
	assert.Contains(t, at, "modules/veth.ko")
	assert.Contains(t, at, "init")
	assert.Contains(t, at, "etc/vmtest.json")
}

func TestInitramfsRefusesWhatCannotRunInTheGuest(t *testing.T) {
	_, err := write(t, File{Guest: "bin/relative", Data: []byte("1")})
	assert.ErrorContains(t, err, "not absolute")
	_, err = write(t, File{Guest: "/bin/absent", Host: "/no/such/file"})
	assert.ErrorIs(t, err, os.ErrNotExist)
	_, err = write(t, File{Guest: "/bin/directory", Host: t.TempDir()})
	assert.ErrorContains(t, err, "not a regular file")
	if dynamic := "/bin/ls"; needsLoader(openFile(t, dynamic)) {
		_, err = write(t, File{Guest: "/bin/ls", Host: dynamic})
		assert.ErrorContains(t, err, "dynamically linked")
	}
}

func openFile(t *testing.T, path string) io.ReaderAt {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}
