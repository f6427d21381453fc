// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Output is a file in the making: it appears under its name, whole, when it is
// committed, and otherwise never.
type Output struct {
	*bufio.Writer
	path string
	file *os.File
	gzip *gzip.Writer
	// temporary says that file is one beside path.
	temporary bool
}

// Create begins the file at path, compressed if its name ends in ".gz"; "-" is
// stdout, which is written as it comes, like anything that is no regular file.
func Create(path string, stdout io.Writer) (*Output, error) {
	if path == "" || path == "-" {
		return &Output{Writer: bufio.NewWriterSize(stdout, block)}, nil
	}
	o := &Output{path: path}
	var err error
	if info, lookup := os.Stat(path); lookup == nil && !info.Mode().IsRegular() {
		o.file, err = os.OpenFile(path, os.O_WRONLY, 0)
	} else {
		o.temporary = true
		if o.file, err = os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*"); err == nil {
			if err = o.file.Chmod(0o644); err != nil {
				o.Abort()
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	if strings.HasSuffix(path, ".gz") {
		o.gzip, _ = gzip.NewWriterLevel(o.file, gzip.BestSpeed) // the level exists
		o.Writer = bufio.NewWriterSize(o.gzip, block)
	} else {
		o.Writer = bufio.NewWriterSize(o.file, block)
	}
	return o, nil
}

// Commit ends the file.
func (o *Output) Commit() error {
	err := o.Flush()
	if o.file == nil {
		return err
	}
	if o.gzip != nil {
		err = errors.Join(err, o.gzip.Close())
	}
	if err == nil && o.temporary {
		err = o.file.Sync()
	}
	err = errors.Join(err, o.file.Close())
	if err == nil && o.temporary {
		err = os.Rename(o.file.Name(), o.path)
	}
	if err != nil {
		if o.temporary {
			os.Remove(o.file.Name())
		}
		return fmt.Errorf("write %s: %w", o.path, err)
	}
	o.file = nil
	return nil
}

// Abort gives the file up, unless it is committed. What went to a stream or a
// device has gone there.
func (o *Output) Abort() {
	if o.file == nil {
		if o.path == "" {
			_ = o.Flush() // an error is under way already
		}
		return
	}
	o.file.Close()
	if o.temporary {
		os.Remove(o.file.Name())
	}
	o.file = nil
}
