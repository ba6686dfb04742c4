/* SPDX-License-Identifier: Apache-2.0 */
/* What printing and parsing share. */
#ifndef TARN_VALUE_LITERAL_H
#define TARN_VALUE_LITERAL_H

#include <locale.h>

/* Numbers look the same whatever the program's locale; 0 if there is no memory for it. */
locale_t tarn__c_locale(void);

#endif
