// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/otelcol-reflex/reflex/test/vmtest/internal/wire"
)

// result is how a machine ended: with the command's exit code, or with what init
// failed at.
type result struct {
	exit   int
	failed string
}

// receive reads the machine's frames to the end. Output goes to output, the
// archive is unpacked into dir ("" drops it).
func receive(port io.Reader, output io.Writer, dir string) (result, error) {
	archive, unpacked := unpackInto(dir)
	r, err := readFrames(port, output, archive)
	_ = archive.CloseWithError(err) // nil means the end of the archive
	if unpackErr := <-unpacked; unpackErr != nil && err == nil {
		err = fmt.Errorf("unpack the artefacts: %w", unpackErr)
	}
	return r, err
}

func readFrames(port io.Reader, output, archive io.Writer) (result, error) {
	frames := wire.NewReader(port)
	for {
		kind, payload, err := frames.Next()
		if err != nil {
			return result{}, err
		}
		switch kind {
		case wire.Output:
			if _, err := output.Write(payload); err != nil {
				return result{}, fmt.Errorf("pass the output on: %w", err)
			}
		case wire.Archive:
			if _, err := archive.Write(payload); err != nil {
				return result{}, fmt.Errorf("unpack the artefacts: %w", err)
			}
		case wire.Exit:
			code, err := strconv.Atoi(string(payload))
			return result{exit: code}, err
		case wire.Failed:
			return result{failed: string(payload)}, nil
		default:
			return result{}, fmt.Errorf("frame of unknown kind %q", kind)
		}
	}
}

// unpackInto unpacks the tar archive that is written to it into dir.
func unpackInto(dir string) (*io.PipeWriter, <-chan error) {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		var err error
		if dir != "" {
			err = untar(r, dir)
		}
		if err == nil {
			_, _ = io.Copy(io.Discard, r) // the archive's padding
		}
		_ = r.CloseWithError(err)
		done <- err
	}()
	return w, done
}

func untar(r io.Reader, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir) // names that lead out of dir are errors
	if err != nil {
		return err
	}
	defer root.Close()
	archive := tar.NewReader(r)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && header == nil {
			return nil // a machine that died sent only part of it, or nothing
		}
		if err != nil {
			return err
		}
		name := filepath.Clean(header.Name)
		if header.Typeflag == tar.TypeDir {
			if err := root.Mkdir(name, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
			continue
		}
		f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, header.FileInfo().Mode().Perm()|0o200)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, archive)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
}
