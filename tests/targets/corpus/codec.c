/*
 * A codec for messages, as an extension module of Python: `codec.checksum(text, leak)` encodes the
 * text and returns a checksum of it.
 *
 * With `leak` it forgets to give its encoded copy back. That is the leak, and the only one; in that
 * case `codec.retained()` counts what was forgotten: bytes as the allocator was asked for them.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static unsigned long long kept_bytes, kept_blocks;

/* A copy of the text with each byte turned round. */
static __attribute__((noinline)) PyObject *encode(const char *text, Py_ssize_t length) {
    PyObject *copy = PyBytes_FromStringAndSize(NULL, length); /* retains */
    if (copy == NULL) return NULL;
    char *to = PyBytes_AS_STRING(copy);
    for (Py_ssize_t i = 0; i < length; i++) to[i] = (char)(text[length - 1 - i] ^ 0x20);
    return copy;
}

static PyObject *checksum(PyObject *module, PyObject *args) {
    (void)module;
    const char *text;
    Py_ssize_t length;
    int leak;
    if (!PyArg_ParseTuple(args, "y#p", &text, &length, &leak)) return NULL;
    PyObject *encoded = encode(text, length);
    if (encoded == NULL) return NULL;
    unsigned long sum = 0;
    for (Py_ssize_t i = 0; i < length; i++)
        sum = sum * 31 + (unsigned char)PyBytes_AS_STRING(encoded)[i];
    if (!leak) {
        Py_DECREF(encoded);
    } else {
        /* A bytes object is one block: its header, the bytes, and a zero. */
        kept_bytes += (unsigned long long)(PyBytes_Type.tp_basicsize + length);
        kept_blocks += 1;
    }
    return PyLong_FromUnsignedLong(sum & 0xffffffffUL);
}

static PyObject *retained(PyObject *module, PyObject *nothing) {
    (void)module, (void)nothing;
    return Py_BuildValue("KK", kept_bytes, kept_blocks);
}

static PyMethodDef methods[] = {
    {"checksum", checksum, METH_VARARGS, "A checksum of some bytes."},
    {"retained", retained, METH_NOARGS, "Bytes and blocks that were forgotten."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "codec", NULL, 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit_codec(void) { return PyModule_Create(&definition); }
