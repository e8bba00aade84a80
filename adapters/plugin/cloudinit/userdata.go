package cloudinit

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"strings"
)

// maxUserData bounds what compressed data may grow to.
const maxUserData = 64 << 20 // bytes

// merging lets cloud-init add what a registration wants to what bootstrap data want: lists are joined, the registration's
// before, and of anything else that both say the bootstrap data's holds.
const merging = "list(prepend)+dict(no_replace,recurse_list,recurse_dict)+str()"

// userData is what cloud-init is given as such: the bootstrap data as they are or, where the registration has a cloud
// config, both. A list in the one would else take the place of the same list in the other.
func userData(data []byte, config map[string]json.RawMessage, boundary string) ([]byte, error) {
	plain, err := plainData(data)
	if err != nil {
		return nil, err
	}
	if err := checkUserData(plain); err != nil {
		return nil, err
	}
	if len(config) == 0 {
		return data, nil
	}
	var body bytes.Buffer
	parts := multipart.NewWriter(&body)
	if err := parts.SetBoundary(boundary); err != nil {
		return nil, fmt.Errorf("joining the bootstrap data and the registration's cloud config: %w", err)
	}
	err = errors.Join(addBootstrap(parts, plain), addRegistration(parts, config), parts.Close())
	if err != nil {
		return nil, fmt.Errorf("joining the bootstrap data and the registration's cloud config: %w", err)
	}
	head := fmt.Sprintf("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=%q\r\n\r\n", boundary)
	return append([]byte(head), body.Bytes()...), nil
}

// plainData takes the compression away that cloud-init would.
func plainData(data []byte) ([]byte, error) {
	if !bytes.HasPrefix(data, []byte("\x1f\x8b")) {
		return data, nil
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, failed("InvalidBootstrapData", "the bootstrap data begins like gzip, and can't be unpacked: %v", err)
	}
	plain, err := io.ReadAll(io.LimitReader(unzipped, maxUserData+1))
	switch {
	case err != nil:
		return nil, failed("InvalidBootstrapData", "the bootstrap data begins like gzip, and can't be unpacked: %v", err)
	case len(plain) > maxUserData:
		return nil, failed("InvalidBootstrapData", "the bootstrap data is larger than %d MiB when it is unpacked", maxUserData>>20)
	}
	return plain, nil
}

// checkUserData refuses what cloud-init would pass over without a word. All else is cloud-init's to judge.
func checkUserData(plain []byte) error {
	text := bytes.TrimLeft(plain, " \t\r\n")
	switch {
	case bytes.HasPrefix(text, []byte("#")), isMail(text):
		return nil
	case bytes.HasPrefix(text, []byte("{")):
		return failed("InvalidBootstrapData", "the format of the bootstrap data is %s, and it begins as JSON does: if it is meant for Ignition, its format must be %s", formatCloudConfig, formatIgnition)
	default:
		return failed("InvalidBootstrapData", "cloud-init would ignore the bootstrap data: it must begin with #cloud-config, ## template: jinja, #! or another such line, or be a MIME message")
	}
}

// isMail says whether a text is a MIME message.
func isMail(text []byte) bool {
	head := strings.ToLower(string(text[:min(len(text), 32)]))
	return strings.HasPrefix(head, "mime-version:") || strings.HasPrefix(head, "content-type:")
}

// addBootstrap adds bootstrap data as one part. A MIME message is one already.
func addBootstrap(parts *multipart.Writer, plain []byte) error {
	text := bytes.TrimLeft(plain, " \t\r\n")
	if !isMail(text) {
		// Of this type cloud-init finds out itself what it is.
		return addPart(parts, textproto.MIMEHeader{"Content-Type": {"text/plain; charset=utf-8"}}, "bootstrap", text)
	}
	message, err := mail.ReadMessage(bytes.NewReader(text))
	if err != nil {
		return failed("InvalidBootstrapData", "the bootstrap data begins like a MIME message, and has no such head")
	}
	part, err := parts.CreatePart(textproto.MIMEHeader(message.Header))
	if err != nil {
		return err
	}
	_, err = io.Copy(part, message.Body)
	return err
}

// addRegistration adds a registration's cloud config, to be merged into what comes before.
func addRegistration(parts *multipart.Writer, config map[string]json.RawMessage) error {
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	head := textproto.MIMEHeader{"Content-Type": {"text/cloud-config; charset=utf-8"}}
	if !saysMerging(config) {
		head.Set("Merge-Type", merging)
	}
	return addPart(parts, head, "registration", append([]byte("#cloud-config\n"), text...))
}

// saysMerging says whether a cloud config itself says how it is to be merged.
func saysMerging(config map[string]json.RawMessage) bool {
	return config["merge_how"] != nil || config["merge_type"] != nil
}

// addPart adds a text, encoded so that no line of it is taken for the end of the part.
func addPart(parts *multipart.Writer, head textproto.MIMEHeader, name string, text []byte) error {
	head.Set("Content-Transfer-Encoding", "base64")
	head.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", name))
	part, err := parts.CreatePart(head)
	if err != nil {
		return err
	}
	const line = 57 // bytes that make a line of 76 characters
	for ; len(text) > 0; text = text[min(line, len(text)):] {
		if _, err := io.WriteString(part, base64.StdEncoding.EncodeToString(text[:min(line, len(text))])+"\r\n"); err != nil {
			return err
		}
	}
	return nil
}
